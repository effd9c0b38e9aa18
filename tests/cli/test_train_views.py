"""mermed-train views from the outside: which images it shows, what it writes and prints, and what it refuses."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from mermed.batch import CanvasBatch, Position
from mermed.cli.train import main
from mermed.config import with_settings
from mermed.contract import MODALITIES, SampleMeta
from mermed.errors import IntegrityError
from mermed.presets import preset
from mermed.train import view_maker, views
from mermed.train.run import open_data

SETTINGS = ["stream.canvas_px=48", "augment.global_px=48", "augment.local_px=32", "augment.num_local=2"]


@pytest.fixture
def ask(collection, tmp_path):
    """Run the command on the phantoms into tmp_path/v.png; `code` is the exit code it must end with."""

    def ask(*options, shards=collection, out=tmp_path / "v.png", code=0, settings=()):
        chosen = [option for setting in (*SETTINGS, *settings) for option in ("--set", setting)]
        command = ["views", "smoke", "--shards", shards, "--out", out, *chosen, *options]
        result = CliRunner().invoke(main, [str(part) for part in command])
        assert result.exit_code == code, result.output
        return result.output

    return ask


def _images(output):
    """(modality, slot, key) of each image of a JSON answer, in order."""
    rows = json.loads(output)["views"]
    return list(dict.fromkeys((row["modality"], row["slot"], row["key"]) for row in rows))


def test_without_options_one_image_of_each_modality_is_shown_with_all_its_views(ask, tmp_path):
    answer = json.loads(ask("--json"))
    assert [image[0] for image in _images(json.dumps(answer))] == list(MODALITIES)
    assert [row["view"] for row in answer["views"][:5]] == ["G1", "G2", "L1", "L2", "G1"]
    assert answer["engines"] == ["cpu"]
    with Image.open(tmp_path / "v.png") as sheet:
        assert sheet.format == "PNG" and sheet.height > 7 * 360


def test_several_images_of_chosen_modalities_are_the_next_that_the_run_draws(ask, collection):
    data = open_data(with_settings(preset("smoke"), SETTINGS), collection)
    planned = [reference for reference in data.plan.batch(range(9, 200)) if reference.modality == 1][:3]
    shown = _images(ask("--modality", "us, ct", "--images", 3, "--slot", 9, "--json"))
    assert [modality for modality, _, _ in shown] == ["ct"] * 3 + ["us"] * 3
    assert [slot for _, slot, _ in shown[:3]] == [reference.slot for reference in planned]


def test_a_key_is_shown_with_the_views_of_the_next_slot_that_draws_it(ask):
    rows = [row for row in json.loads(ask("--json", "--slot", 30))["views"] if row["modality"] == "derm"]
    assert json.loads(ask("--json", "--slot", 30, "--key", rows[0]["key"]))["views"] == rows
    later = json.loads(ask("--json", "--slot", rows[0]["slot"] + 1, "--key", rows[0]["key"]))["views"]
    assert later[0]["slot"] > rows[0]["slot"] and later[0]["left_px"] != rows[0]["left_px"]


def test_a_withdrawn_sample_is_never_shown(ask, tmp_path):
    before = _images(ask("--json"))
    key = next(key for modality, _, key in before if modality == "cxr")
    withdrawn = tmp_path / "withdrawn.txt"
    withdrawn.write_text(f"{key}\n")
    tombstones = [f"stream.tombstones={withdrawn}"]
    after = _images(ask("--json", settings=tombstones))
    assert len(after) == 7 and key not in {found for _, _, found in after}
    assert "withdrawn or damaged" in ask("--key", key, settings=tombstones, code=2)


def test_each_policy_has_its_sheet_and_its_draws(ask, tmp_path):
    rows = json.loads(ask("--json", "--policies", "seed,released,medical", "--modality", "path"))["views"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["v-medical.png", "v-released.png", "v-seed.png"]
    angles = {policy: [row["angle_rad"] for row in rows if row["policy"] == policy] for policy in ("seed", "released")}
    assert not any(angles["seed"]) and all(angles["released"])


@pytest.fixture
def two_engines(monkeypatch):
    """An engine named cpu that is Kornia's, two grey levels brighter in the constants of `seed`."""
    build = view_maker.build_crops

    def built(config, policies, normalisation, *arguments, **more):
        crops = build(replace(config, engine="kornia"), policies, normalisation, *arguments, **more)

        def brighter(canvases, draws):
            made = crops(canvases, draws)
            for tensor in (made.global_crops, made.local_crops):
                tensor += 2 / 255 / tensor.new_tensor(normalisation.std[0])[:, None, None]
            return made

        return crops if config.engine == "kornia" else brighter

    monkeypatch.setattr(view_maker, "build_crops", built)


def test_engines_are_measured_against_the_first_one(ask, two_engines, tmp_path):
    options = ["--engines", "kornia,cpu", "--policies", "seed", "--modality", "oct"]
    numbers = tmp_path / "numbers.csv"
    told = ask(*options, "--table", "--csv", numbers)
    assert "cpu against kornia: mean 2.00, p99.9 <= 2.0 (oct slot " in told
    assert "cpu mean, p99.9" in told and told.count("2.00, 2.0") == 4
    with Image.open(tmp_path / "v.png") as both:
        assert both.height > 900
    with numbers.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["view"] for row in rows] == ["G1", "G2", "L1", "L2"]
    for row in rows:
        assert float(row["cpu_mean"]) == pytest.approx(2.0, abs=1e-3)
        assert float(row["cpu_p99_9"]) == pytest.approx(2.0, abs=1e-3)
    (first, *_) = json.loads(ask(*options, "--json"))["views"]
    assert {name: str(value) for name, value in first.items()} == rows[0], "CSV and JSON hold the same numbers"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engines", "kornja"], ["no augmentation engine 'kornja'", "did you mean 'kornia'?"]),
        (["--policies", "seed,medcal"], ["no augmentation policy 'medcal'", "did you mean 'medical'?"]),
        (["--policies", "x"], ["no augmentation policy 'x'", "seed | released | medical"]),
        (["--modality", "mri"], ["draws no images of 'mri'", "cfp | ct"]),
        (["--key", "ct_phantoms-00000000000000000000"], ["no sample of this key", "mermed-shard show"]),
        (["--key", "ct_a-0", "--modality", "ct"], ["a key names one image"]),
        (["--csv", "nowhere/x.csv"], ["the folder of the CSV file is not there"]),
    ],
)
def test_what_cannot_be_shown_is_refused_with_what_could_be(ask, tmp_path, options, words):
    told = ask(*options, code=2)
    for word in words:
        assert word in told
    assert not list(tmp_path.glob("*.png"))


def test_a_place_for_the_sheet_is_checked_before_any_work(ask, tmp_path):
    assert "the folder of the picture is not there" in ask(out=tmp_path / "no" / "v.png", shards="/nowhere", code=2)
    assert "ends in .png" in ask(out=tmp_path / "v.jpg", shards="/nowhere", code=2)


def test_a_sheet_too_large_to_be_opened_is_refused(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("mermed.cli.train_views.MAX_SIDE_PX", 1000)
    assert "fewer --images" in ask(code=2)
    assert not (tmp_path / "v.png").exists()


def test_a_collection_without_statistics_serves_the_policy_that_needs_none(ask, build_collection):
    samples = []
    for number in range(3):
        meta = SampleMeta(
            key=f"ct_made-{number:020d}",
            modality="ct",
            dataset="made",
            split="train",
            group=f"group-{number}",
            width=40,
            height=30,
            source_bits=8,
        )
        samples.append((meta, Image.fromarray(np.full((30, 40), 90 + number, np.uint8)), "png"))
    folder = build_collection(samples)
    assert "mermed-shard stats" in ask("--policies", "medical", shards=folder, code=2)
    assert len(_images(ask("--policies", "seed", "--json", shards=folder))) == 1


def test_a_canvas_of_16_bits_is_shown_through_its_own_window():
    values = np.array([[0, 10_000, 20_000], [30_000, 40_000, 65_535]])
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    pixels[0, 0, :2, :3], pixels[0, 1, :2, :3] = values // 256, values % 256
    pixels[1] = 77
    batch = CanvasBatch(
        pixels=torch.from_numpy(pixels),
        size_px=torch.tensor([[2, 3], [4, 4]], dtype=torch.int32),
        modality=torch.tensor([1, 1]),
        slot=np.arange(2),
        meta=(),
        position=Position(0),
        window=np.array([[10_000 / 65_535, 30_000 / 65_535], [np.nan, np.nan]], np.float32),
    )
    shown = views.canvas_levels(batch, 0)
    assert (shown == shown[0]).all()
    assert shown[0].tolist() == [[0, 0, 128], [255, 255, 255]]
    assert (views.canvas_levels(batch, 1) == 77).all()


def _try_views(collection, run):
    config, told = with_settings(preset("smoke"), SETTINGS), []
    views.try_run_views(config, open_data(config, collection), run, told.append)
    return told


def test_a_run_begins_with_its_sheet_and_says_nothing_of_it(collection, tmp_path):
    assert _try_views(collection, tmp_path) == []
    with Image.open(tmp_path / views.VIEWS_NAME) as sheet:
        assert sheet.height > 7 * 360


@pytest.mark.parametrize(
    ("name", "error", "word"),
    [
        ("viewed_images", RuntimeError("an engine's own"), "an engine's own"),
        ("viewed_images", IntegrityError("a shard was cut", expected=1, found=2), "expected 1, found 2"),
        ("replace_file", OSError(28, "No space left on device"), "No space left"),
    ],
)
def test_no_failure_of_the_sheet_ends_the_run(collection, tmp_path, monkeypatch, name, error, word):
    def fail(*_):
        raise error

    monkeypatch.setattr(views, name, fail)
    (line,) = _try_views(collection, tmp_path)
    assert word in line and "the run goes on" in line and "\n" not in line
    assert not list(tmp_path.iterdir())
