"""Training from a store that fails and from shards with bad samples: the same run, or a written reason."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_server import FaultServer, Folder

from mermed import tar
from mermed.config import with_settings
from mermed.contract import load_manifest
from mermed.errors import ConfigError, IntegrityError, ResumeError
from mermed.stream.replace.journal import incidents
from mermed.train.meters import read_metrics

BIN = Path(sys.executable).parent
LAST = "checkpoints/step-000000008"


@pytest.fixture
def served(collection, monkeypatch):
    """The collection behind a web server of which two requests in a hundred fail."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FaultServer(Folder(collection)) as server:
        server.error_rate = 0.02
        yield server


def _begin(config, place, folder, quiet):
    from mermed.train.loop import train
    from mermed.train.run import begin_folder, open_data
    from mermed.world import World

    data = open_data(config, place)
    begin_folder(folder, config, data)
    return train(config, data, folder, World(), quiet, resume=False)


def _trace(run):
    return [(line["step"], line["loss"], line["audit"]) for line in read_metrics(run)]


def test_a_run_over_the_web_through_a_cache_is_the_run_on_local_shards(tiny, start, served, quiet, tmp_path):
    local, remote = tmp_path / "local", tmp_path / "remote"
    start(tiny, local)
    config = with_settings(tiny, [f"stream.cache_dir={tmp_path / 'cache'}", "stream.cache_gib=0.1"])
    _begin(config, served.url, remote, quiet)
    assert _trace(remote) == _trace(local)
    for path in sorted((local / LAST).glob("*.safetensors")):
        assert path.read_bytes() == (remote / LAST / path.name).read_bytes()
    last = read_metrics(remote)[-1]
    assert last["incidents"]["cache_misses"] > 0
    assert last["causes_s"]["network"] > 0.0
    assert json.loads((remote / "data.json").read_text())["shards"] == served.url


def _damage(folder, count, modality="us"):
    """Flip one byte of the images of the first samples of a modality's training shard; returns their keys."""
    row = next(row for row in load_manifest(folder).shards if row.modality == modality and row.split == "train")
    content = bytearray((folder / row.name).read_bytes())
    spans = tar.parse_index((folder / row.index_name).read_text(), row.name)[:count]
    for span in spans:
        content[span.image.offset + span.image.size // 2] ^= 1
    (folder / row.name).write_bytes(content)
    return [span.key for span in spans]


def test_a_bad_sample_is_replaced_and_the_run_can_be_cut_anywhere(tiny, quiet, go_on, collection, tmp_path):
    damaged, whole = tmp_path / "damaged", tmp_path / "whole"
    shutil.copytree(collection, damaged)
    (bad,) = _damage(damaged, 1)
    outcome = _begin(tiny, damaged, whole, quiet)
    expected = _trace(whole)
    assert outcome.state.step == 8
    assert len(expected) == 8
    met = list(incidents(whole))
    assert {incident.key for incident in met} == {bad}
    assert {incident.source for incident in met} == {"us/us_phantoms"}
    last = read_metrics(whole)[-1]
    assert last["incidents"]["replaced"] == last["ledger"]["us/us_phantoms"]["replaced"] > 0
    assert sum(row["replaced"] for row in last["ledger"].values()) == last["incidents"]["replaced"]
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    for later in range(4, 9):
        shutil.rmtree(cut / "checkpoints" / f"step-{later:09d}")
    go_on(cut, str(damaged))
    assert _trace(cut) == expected
    assert read_metrics(cut)[-1]["ledger"]["us/us_phantoms"]["replaced"] == last["incidents"]["replaced"]


def test_many_bad_samples_stop_the_run_with_their_shard(tiny, quiet, collection, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(collection, damaged)
    _damage(damaged, 4)
    config = with_settings(tiny, ["stream.max_failed=0.0001"])
    with pytest.raises(IntegrityError, match="too many samples") as caught:
        _begin(config, damaged, tmp_path / "run", quiet)
    assert "us/train/us-train-000000.tar" in str(caught.value)


def test_a_withdrawn_sample_is_never_trained_on_and_no_other_position_moves(tiny, start, quiet, collection, tmp_path):
    start(tiny, tmp_path / "before")
    row = next(row for row in load_manifest(collection).shards if row.modality == "us" and row.split == "train")
    keys = [span.key for span in tar.parse_index((collection / row.index_name).read_text(), row.name)]
    (tmp_path / "withdrawn").write_text(f"# asked by letter\n{keys[0]}\n{keys[1]}\n")
    config = with_settings(tiny, [f"stream.tombstones={tmp_path / 'withdrawn'}"])
    _begin(config, collection, tmp_path / "after", quiet)
    last = read_metrics(tmp_path / "after")[-1]
    assert last["incidents"]["tombstoned"] > 0
    assert last["ledger"]["us/us_phantoms"]["tombstoned"] > 0
    assert not list(incidents(tmp_path / "after"))
    assert _trace(tmp_path / "after") != _trace(tmp_path / "before")


def test_only_what_the_machine_decides_may_change_when_a_run_goes_on(tiny, start, tmp_path):
    from mermed.train.run import reopen_folder

    start(tiny, tmp_path / "run")
    config, _ = reopen_folder(tmp_path / "run", None, ["stream.io_threads=3", f"stream.cache_dir={tmp_path}"])
    assert (config.stream.io_threads, config.stream.cache_dir) == (3, str(tmp_path))
    with pytest.raises(ConfigError, match="keeps its settings"):
        reopen_folder(tmp_path / "run", None, ["stream.block_samples=32"])


def test_an_address_with_a_secret_is_not_kept_and_asked_for_again(tiny, served, quiet, tmp_path):
    from mermed.train.run import reopen_folder

    run = tmp_path / "run"
    _begin(with_settings(tiny, ["train.steps=1"]), f"{served.url}?signature=hush", run, quiet)
    for path in run.rglob("*"):
        assert path.is_dir() or b"hush" not in path.read_bytes()
    with pytest.raises(ResumeError, match="secret"):
        reopen_folder(run)
    assert reopen_folder(run, f"{served.url}?signature=new")[1].endswith("new")


def test_a_run_that_waits_for_a_store_says_so_and_stops_when_asked(tiny_settings, served, tmp_path):
    run = tmp_path / "run"
    settings = [argument for setting in (*tiny_settings, "train.steps=5000") for argument in ("--set", setting)]
    command = [str(BIN / "mermed-train"), "run", "smoke", "--shards", served.url, "--out", str(run), *settings]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _until(lambda: _steps(run) >= 2, process)
        served.go_down(600)
        _until(lambda: _is_still(run), process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 75, err
    assert "stopped on request" in err
    steps = _steps(run)
    assert (run / "checkpoints" / f"step-{steps:09d}").is_dir()


def _steps(run):
    path = run / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _is_still(run):
    """Whether no step was taken for a second: the run waits."""
    before = _steps(run)
    time.sleep(1.0)
    return _steps(run) == before


def _until(holds, process):
    deadline = time.monotonic() + 120
    while not holds():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
