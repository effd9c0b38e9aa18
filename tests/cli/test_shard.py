"""mermed-shard from the outside: output, exit codes, errors without tracebacks, help without weight."""

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mermed.cli.shard import main
from mermed.contract import load_manifest


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def salt(phantoms):
    return phantoms / "salt"


def test_pack_says_what_went_where_and_what_to_do_next(phantoms, salt, tmp_path):
    result = run("pack", phantoms, "--out", tmp_path / "x", "--workers", 1, "--salt-file", salt, "--max-bad", "10%")
    assert result.exit_code == 0, result.output
    assert "105 inputs = 98 packed + 1 duplicates + 1 excluded + 5 quarantined" in result.output
    for word in ("cxr_phantoms", "truncated", "not_listed", f"mermed-shard verify {tmp_path / 'x'}"):
        assert word in result.output


def test_too_many_bad_inputs_exit_3_after_finishing_what_is_good(phantoms, salt, tmp_path):
    result = run("pack", phantoms, "--out", tmp_path / "x", "--workers", 1, "--salt-file", salt, "--max-bad", "0.01")
    assert result.exit_code == 3
    assert "5 of 105 (4.8%)" in result.output
    assert "images/" not in result.output
    assert load_manifest(tmp_path / "x").totals["packed"] == 98


@pytest.mark.parametrize(
    ("text", "accepted"), [("5%", True), ("0.05", True), ("7.5", True), ("1", False), ("-1", False), ("many", False)]
)
def test_a_share_is_written_without_doubt(text, accepted, tmp_path):
    result = run(
        "pack", tmp_path / "none", "--out", tmp_path / "x", "--salt-file", tmp_path / "none", "--max-bad", text
    )
    assert result.exit_code == 2
    assert ("is no share" not in result.output) == accepted


def test_verify_exits_4_and_names_shard_and_key(collection, tmp_path):
    assert run("verify", collection).exit_code == 0
    shutil.copytree(collection, tmp_path / "x")
    row = load_manifest(collection).shards[0]
    path = tmp_path / "x" / row.name
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    result = run("verify", tmp_path / "x")
    key = content[:100].split(b".")[0].decode()
    assert result.exit_code == 4
    assert f"{row.name} {key}: a sample's bytes changed" in result.output
    assert "Traceback" not in result.output


def test_info_and_stats_speak_json(collection):
    info = json.loads(run("info", collection, "--json").stdout)
    assert info["digest"] == load_manifest(collection).digest
    assert sum(source["samples"] for source in info["sources"]) == info["totals"]["packed"]
    assert info["sources"][0]["pattern"].endswith(".tar")
    stats = json.loads(run("stats", collection, "--json").stdout)
    for modality, stated in load_manifest(collection).stats.items():
        assert stats[modality]["images"] == stated["images"]
        assert stats[modality]["mean"] == pytest.approx(stated["mean"], abs=1e-3)
        assert stats[modality]["std"] == pytest.approx(stated["std"], abs=1e-3)


def test_info_and_stats_speak_to_people(collection):
    assert "melanoma" in run("info", collection).output
    assert "0." in run("stats", collection).output


def test_index_rebuilds_what_is_lost(collection, tmp_path):
    shutil.copytree(collection, tmp_path / "x")
    row = load_manifest(collection).shards[0]
    (tmp_path / "x" / row.index_name).unlink()
    result = run("index", tmp_path / "x")
    assert "rebuilt 1 " in result.output
    assert (tmp_path / "x" / row.index_name).read_bytes() == (collection / row.index_name).read_bytes()


@pytest.mark.parametrize("command", ["verify", "info", "stats", "index"])
def test_a_folder_that_is_no_collection_exits_4_with_the_next_step(command, tmp_path):
    result = run(command, tmp_path)
    assert result.exit_code == 4
    assert "mermed-shard pack" in result.output


def test_phantoms_tell_the_command_to_go_on_with(tmp_path):
    result = run("phantoms", tmp_path / "x", "--images", 1, "--seed", 5)
    assert result.exit_code == 0
    assert f"mermed-shard pack {tmp_path / 'x'} --out DIR --salt-file {tmp_path / 'x' / 'salt'}" in result.output


def test_a_new_salt_is_announced_once(phantoms, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MERMED_SALT_FILE", raising=False)
    first = run("pack", phantoms / "nothing", "--out", tmp_path / "x")
    again = run("pack", phantoms / "nothing", "--out", tmp_path / "x")
    assert "made a new salt" in first.output
    assert "made a new salt" not in again.output
    assert first.exit_code == again.exit_code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["pack", "--help"], ["verify", "--help"]])
def test_help_loads_neither_torch_nor_numpy_nor_pillow(arguments):
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom mermed.cli.shard import main\n"
        f"assert CliRunner().invoke(main, {arguments!r}).exit_code == 0\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'pydicom', 'rich') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_known_error_shows_its_parts_and_notes(monkeypatch, collection):
    from mermed.errors import ConfigError
    from mermed.pack.checks import info as info_module

    def fail(manifest):
        error = ConfigError("it is wrong", where={"shard": "x"}, expected=1, found=2, next_step="do that")
        error.add_note("seen while testing")
        raise error

    monkeypatch.setattr(info_module, "describe", fail)
    result = run("info", collection, "--json")
    assert result.exit_code == 2
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "error:",
        "where",
        "expected",
        "found",
        "next",
        "seen",
    ]


def test_an_unknown_failure_keeps_its_traceback_and_a_known_one_has_none(monkeypatch, collection):
    from mermed.pack.checks import info as info_module

    def fail(manifest):
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(info_module, "describe", fail)
    result = run("info", collection, "--json")
    assert isinstance(result.exception, RuntimeError)
