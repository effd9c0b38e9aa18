"""The whole main job through the commands: shards, plan, views, training, evaluation, each leaving what it promises."""

import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from mermed.cli.eval import main as mermed_eval
from mermed.cli.train import main as mermed_train

SETTINGS = [
    "model.encoder=test_vit",
    "model.head_hidden=32",
    "model.embedding=16",
    "stream.canvas_px=48",
    "augment.global_px=48",
    "augment.local_px=32",
    "augment.num_local=2",
    "queue.rows=56",
    "train.batch=14",
    "train.steps=4",
    "train.checkpoint_every=2",
    "train.device=cpu",
]


def _call(command, *arguments, code=0):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def _set(settings):
    return [argument for setting in settings for argument in ("--set", setting)]


@pytest.fixture(scope="module")
def run(collection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("end") / "run"
    _call(mermed_train, "run", "smoke", "--shards", collection, "--out", folder, *_set(SETTINGS))
    yield folder
    torch.use_deterministic_algorithms(False)


def test_a_run_leaves_what_the_next_person_needs(run):
    left = {path.name for path in run.iterdir()}
    assert left == {
        "config.toml",
        "data.json",
        "env.json",
        "initial.safetensors",
        "metrics.jsonl",
        "report.html",
        "views.png",
        "tensorboard",
        "checkpoints",
    }
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-000000002", "step-000000004"]
    assert list((run / "tensorboard").glob("events*"))
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 4
    assert last["slots"] == 56
    assert set(last["loss_by_modality"]) == {"cfp", "ct", "cxr", "derm", "oct", "path", "us"}
    assert 0 <= last["stall"] <= 1
    assert last["images_per_s"] > 0


def test_resuming_a_finished_run_changes_nothing(run):
    before = (run / "metrics.jsonl").read_bytes()
    assert "step 4 of 4" in _call(mermed_train, "resume", run)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_evaluation_reports_every_task_beside_its_baselines(run, collection, tmp_path):
    out = tmp_path / "eval"
    _call(mermed_eval, "run", run, "--shards", collection, "--out", out, "--device", "cpu")
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["tasks"]) == 7
    page = (out / "report.html").read_text()
    assert 'src="http' not in page
    assert all(name in page for name in ("teacher", "random", "initial"))


def test_plan_counts_what_a_run_will_read(collection):
    facts = json.loads(_call(mermed_train, "plan", "smoke", "--shards", collection, "--json", *_set(SETTINGS)))
    assert facts["slots"] == 56
    assert sum(row["draws"] for row in facts["sources"]) == 56
    assert set(facts["images_per_batch"].values()) == {2.0}
    assert len(facts["first_keys"]) == 8
    assert "images per batch" in _call(mermed_train, "plan", "smoke", "--shards", collection)


@pytest.mark.parametrize("policy", ["seed", "released", "medical"])
def test_views_show_one_image_of_each_modality(collection, tmp_path, policy):
    out = tmp_path / "views.png"
    settings = [*SETTINGS, f"augment.policy={policy}"]
    _call(mermed_train, "views", "smoke", "--shards", collection, "--out", out, *_set(settings))
    with Image.open(out) as sheet:
        assert min(sheet.size) > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "vit", "--out", "x"], "no preset"),
        (["run", "smoke", "--out", "x", "--set", "train.step=3"], "did you mean 'train.steps'"),
        (["run", "smoke", "--out", "x", "--set", "mix.drop=mri"], "lacks"),
        (["plan", "smoke", "--set", "train.steps=x"], "wrong type"),
    ],
)
def test_a_mistake_is_answered_with_the_next_step(collection, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in _call(mermed_train, *arguments, "--shards", collection, code=2)
    assert not (tmp_path / "x").exists() or not any((tmp_path / "x").iterdir())


def test_a_folder_without_a_manifest_is_answered_with_how_to_pack(tmp_path):
    assert "mermed-shard pack" in _call(mermed_train, "plan", "smoke", "--shards", tmp_path, code=4)
