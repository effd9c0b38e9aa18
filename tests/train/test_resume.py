"""Resume: the same samples, the same views and, on a CPU, the same losses to the last bit, wherever a run was cut."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mermed.config import with_settings
from mermed.errors import ConfigError, DivergenceError, ResumeError
from mermed.train.meters import read_metrics

BIN = Path(sys.executable).parent
LAST = "checkpoints/step-000000008"


def _trace(run):
    """What must repeat: step, slots, exact losses, entropies, gradient norm and audit of every step."""
    names = ("step", "slots", "loss", "loss_by_modality", "teacher_entropy", "gradient_norm", "lr", "audit")
    return [{name: line[name] for name in names} for line in read_metrics(run)]


def _checkpoint_bytes(run):
    return {path.name: path.read_bytes() for path in sorted((run / LAST).glob("*.safetensors"))}


def _settings(tiny_settings):
    return [argument for setting in tiny_settings for argument in ("--set", setting)]


def test_every_checkpoint_leads_to_the_same_end(tiny, start, go_on, tmp_path):
    whole = tmp_path / "whole"
    outcome = start(tiny, whole)
    expected, weights = _trace(whole), _checkpoint_bytes(whole)
    assert [line["step"] for line in expected] == list(range(1, 9))
    assert len({line["audit"] for line in expected}) == 8
    assert set(weights) == {f"{name}.safetensors" for name in ("optimizer", "queue", "student", "teacher")}
    for step in range(1, 8):
        cut = tmp_path / f"cut-{step}"
        shutil.copytree(whole, cut)
        for later in range(step + 1, 9):
            shutil.rmtree(cut / "checkpoints" / f"step-{later:09d}")
        assert go_on(cut) == outcome
        assert _trace(cut) == expected
        assert _checkpoint_bytes(cut) == weights


def test_a_killed_process_goes_on_as_if_it_had_not_been(tiny, start, go_on, collection, tmp_path, tiny_settings):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start(tiny, whole)
    command = [str(BIN / "mermed-train"), "run", "smoke", "--shards", str(collection), "--out", str(cut)]
    process = subprocess.Popen([*command, *_settings(tiny_settings)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while process.poll() is None and len(_lines(cut)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    go_on(cut)
    assert _trace(cut) == _trace(whole)
    assert _checkpoint_bytes(cut) == _checkpoint_bytes(whole)


def _lines(run):
    path = run / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_two_ranks_go_on_with_the_global_batches_of_one(tiny, start, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start(tiny, whole)
    shutil.copytree(whole, cut)
    for later in range(4, 9):
        shutil.rmtree(cut / "checkpoints" / f"step-{later:09d}")
    launch = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node=2", "--no-python", str(BIN / "mermed-train")]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, "resume", str(cut)], env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = _trace(whole), _trace(cut)
    assert [line["audit"] for line in two] == [line["audit"] for line in one]
    assert [line["slots"] for line in two] == [line["slots"] for line in one]
    assert two[:3] == one[:3]
    # The head's batch norm sees half a batch on each CPU rank, so later losses are near, not equal.
    assert all(abs(a["loss"] - b["loss"]) < 0.5 for a, b in zip(one, two, strict=True))


def test_a_request_to_stop_leaves_a_checkpoint_and_the_exit_code_says_so(collection, go_on, tmp_path, tiny_settings):
    run = tmp_path / "run"
    command = [str(BIN / "mermed-train"), "run", "smoke", "--shards", str(collection), "--out", str(run)]
    settings = _settings([*tiny_settings, "train.steps=2000", "train.checkpoint_every=2000"])
    process = subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and len(_lines(run)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "mermed-train resume" in errors
    checkpoint = max((run / "checkpoints").iterdir())
    assert json.loads((checkpoint / "state.json").read_text())["step"] == read_metrics(run)[-1]["step"]


def test_a_damaged_newest_checkpoint_is_passed_over_loudly(tiny, start, go_on, tmp_path, quiet):
    run = tmp_path / "run"
    start(tiny, run)
    expected = _trace(run)
    damaged = run / LAST / "teacher.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    go_on(run)
    assert "damaged checkpoint: step-000000008 (the bytes of teacher.safetensors changed)" in quiet.file.getvalue()
    assert "resumed after step 7" in quiet.file.getvalue()
    assert _trace(run) == expected


def test_a_run_killed_before_its_first_checkpoint_starts_again_in_the_same_order(tiny, start, go_on, tmp_path, quiet):
    run = tmp_path / "run"
    start(tiny, run)
    expected, initial = _trace(run), (run / "initial.safetensors").read_bytes()
    shutil.rmtree(run / "checkpoints")
    go_on(run)
    assert "before its first checkpoint" in quiet.file.getvalue()
    assert _trace(run) == expected
    assert (run / "initial.safetensors").read_bytes() == initial


def test_a_step_that_diverges_changes_nothing_and_names_its_samples(tiny, start, collection, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(DivergenceError, match="diverged-step-") as caught:
        start(with_settings(tiny, ["optim.lr=1e38", "optim.clip=0"]), run)
    (dump,) = run.glob("diverged-step-*.json")
    content = json.loads(dump.read_text())
    assert f"step {content['step']}" in str(caught.value)
    assert len(content["keys"]) == len(content["slots"]) == 14
    assert max(path.name for path in (run / "checkpoints").iterdir()) == f"step-{content['step']:09d}"
    assert read_metrics(run)[-1]["step"] == content["step"]


def test_other_shards_are_refused(tiny, start, go_on, collection, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    start(tiny, run)
    shutil.copytree(collection, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["shards"][0]["sha256"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResumeError, match="not those this run was trained on"):
        go_on(run, other)


def test_a_used_folder_is_not_overwritten_and_a_strange_one_not_resumed(tiny, start, go_on, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        start(tiny, tmp_path / "used")
    with pytest.raises(ResumeError, match="not a run"):
        go_on(tmp_path / "used")
