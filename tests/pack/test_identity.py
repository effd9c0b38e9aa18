"""Identity: keys that follow the grammar, and a salt that is made once and kept private."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mermed.contract import DATASET_GRAMMAR, KEY_GRAMMAR
from mermed.errors import ConfigError
from mermed.pack.identity import Identity, load_identity


@given(st.from_regex(DATASET_GRAMMAR, fullmatch=True), st.text())
def test_every_key_follows_the_grammar_and_holds_no_dot(dataset, file):
    key = Identity(b"salt of sixteen b").sample_key("cxr", dataset, file)
    assert KEY_GRAMMAR.fullmatch(key)
    assert len(key) <= 45


def test_keys_differ_by_every_part_and_by_the_salt():
    one = Identity(b"salt number one..")
    keys = {
        one.sample_key("cxr", "set", "a.png"),
        one.sample_key("ct", "set", "a.png"),
        one.sample_key("cxr", "seta", ".png"),
        one.sample_key("cxr", "set", "b.png"),
        Identity(b"salt number two..").sample_key("cxr", "set", "a.png"),
    }
    assert len({key[-20:] for key in keys}) == 5


def test_neither_key_nor_group_holds_what_it_was_made_of():
    identity = Identity(b"salt number one..")
    made = (
        identity.sample_key("cxr", "set", "MRN0042.png") + identity.group_id("cxr", "set", "pMRN0042") + identity.mark
    )
    assert "0042" not in made
    assert "salt" not in repr(identity)


def test_a_salt_is_made_once_and_only_its_owner_reads_it(tmp_path):
    environ = {"HOME": str(tmp_path)}
    first, made = load_identity(None, environ)
    again, found = load_identity(None, environ)
    assert made.is_new
    assert not found.is_new
    assert first == again
    assert made.path == tmp_path / ".config" / "mermed" / "salt"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert len(first.salt) == 64


def test_an_option_beats_the_environment_beats_the_home(tmp_path):
    for name in ("option", "environ"):
        (tmp_path / name).write_text(f"a salt from the {name} file")
    environ = {"HOME": str(tmp_path), "MERMED_SALT_FILE": str(tmp_path / "environ")}
    assert load_identity(tmp_path / "option", environ)[0].salt == b"a salt from the option file"
    assert load_identity(None, environ)[0].salt == b"a salt from the environ file"


def test_a_named_salt_that_is_missing_or_short_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not there"):
        load_identity(tmp_path / "none", {})
    (tmp_path / "short").write_text("pepper\n")
    with pytest.raises(ConfigError, match="too short") as caught:
        load_identity(tmp_path / "short", {})
    assert "pepper" not in str(caught.value)
