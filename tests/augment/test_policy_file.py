"""Users add policies in a TOML file; what it held is kept with the run, and what is wrong in it is named."""

import pytest
import tomli_w

from mermed.augment.draw import policy_table
from mermed.augment.policy import policy_for
from mermed.config import AugmentConfig, load_run_config, to_mapping, with_resume_settings, with_settings
from mermed.errors import ConfigError
from mermed.presets import preset

WHY = {"reason": "breasts are mirrored by convention", "source": "our own reading"}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "policies.toml"
        path.write_text(text)
        return path

    return write


def test_a_table_starts_from_a_known_row_or_from_nothing():
    rows = {"mg": {**WHY, "like": "cxr", "flip_h_p": 0.5, "gamma": [0.9, 1]}, "ct": {**WHY, "rotation_deg": 3}}
    mg, ct, us = policy_table("medical", ("mg", "ct", "us"), rows).policies
    assert (mg.flip_h_p, mg.gamma, mg.invert_p) == (0.5, (0.9, 1.0), policy_for("medical", "cxr").invert_p)
    assert (ct.rotation_deg, ct.gamma, ct.reason) == (3.0, (1.0, 1.0), WHY["reason"])
    assert us == policy_for("medical", "us")


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"flip_h": 0.5}, "did you mean 'augment.rows.mg.flip_h_p'"),
        ({"like": "mr"}, "cfp | ct"),
        ({"reason": " "}, "gives no reason"),
        ({"source": ""}, "gives no source"),
        ({"flip_h_p": "often"}, "wrong type"),
        ({"flip_h_p": 1.5}, "0 to 1"),
        ({"corners": "white"}, "black | reflect"),
        ({"gamma": [1.2, 0.8]}, "low <= high"),
        ({"gamma": [1.0]}, "2 values"),
        ({"local_scale": [0.5, 1.5]}, "1 at most"),
        ({"blur_p": [0.5, 0.5]}, "3 values"),
        ({"hue": 0.6}, "0.5 turns"),
        ({"window_width": -0.1}, "0 or more"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(row, answer):
    with pytest.raises(ConfigError) as caught:
        policy_table("medical", ("mg",), {"mg": WHY | row})
    assert answer in str(caught.value)


def test_a_run_keeps_the_tables_whatever_becomes_of_the_file(write):
    path = write('[mg]\nlike = "cxr"\nreason = "a"\nsource = "b"\nblur_p = [0, 0.5, 1]\n')
    config = with_settings(preset("smoke"), [f"augment.policy_file={path}"])
    assert config.augment.rows == {"mg": {"like": "cxr", "reason": "a", "source": "b", "blur_p": [0, 0.5, 1]}}
    stored = tomli_w.dumps(to_mapping(config))
    path.write_text("[mg]\n")
    again = load_run_config(stored)
    assert again == config == with_resume_settings(again, ["stream.io_threads=0"])
    assert policy_table("medical", ("mg",), again.augment.rows).policies[0].blur_p == (0.0, 0.5, 1.0)
    with pytest.raises(ConfigError, match="keeps its settings"):
        with_resume_settings(again, [f"augment.policy_file={path}"])


@pytest.mark.parametrize("text", ["[mg", "reason = 'a'", ""])
def test_a_file_that_holds_no_tables_is_refused(write, text):
    with pytest.raises(ConfigError, match=r"policy file|augment\.rows"):
        with_settings(preset("smoke"), [f"augment.policy_file={write(text)}"])


def test_a_file_that_is_not_there_or_was_never_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        with_settings(preset("smoke"), [f"augment.policy_file={tmp_path / 'none.toml'}"])
    with pytest.raises(ConfigError, match=r"not in augment\.rows"):
        AugmentConfig(policy_file="policies.toml")


def test_an_empty_name_takes_the_tables_back(write):
    path = write('[mg]\nreason = "a"\nsource = "b"\n')
    settings = [f"augment.policy_file={path}", "augment.policy_file="]
    assert with_settings(preset("smoke"), settings) == preset("smoke")
