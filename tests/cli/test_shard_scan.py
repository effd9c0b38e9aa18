"""mermed-shard scan and recipes from the outside: what they print, what they write, and what they refuse."""

import json

import pytest
from click.testing import CliRunner
from collected import MINIATURES
from miniature import write_image

from mermed.cli.shard import main
from mermed.cli.shard_scan import recipes, scan
from mermed.contract import load_manifest
from mermed.errors import ConfigError
from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.recipe import load_recipe


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_scan_says_what_it_found_with_counts_and_how_to_pack_it(tmp_path):
    MINIATURES["nih_chestxray14"](tmp_path)
    result = run(scan, tmp_path)
    assert result.exit_code == 0, result.output
    for line in (
        f"nih_chestxray14  NIH ChestX-ray14  ({tmp_path})",
        "4 files to pack: 4 cxr",
        "4 with labels, 3 patients, splits: 2 train, 1 test, 1 to be drawn",
        "left out: 1 missing, 1 no_row, 1 not_listed",
        f"next  mermed-shard pack {tmp_path} --recipe nih_chestxray14 --out DIR",
    ):
        assert line in result.output


def test_scan_of_several_datasets_gives_one_command_for_all_of_them(tmp_path):
    for name in ("deeplesion", "sars_cov_2"):
        (tmp_path / name[:3]).mkdir()
        MINIATURES[name](tmp_path / name[:3])
    result = run(scan, tmp_path)
    expected = f"--recipe deeplesion={tmp_path / 'dee'} --recipe sars_cov_2={tmp_path / 'sar'} --out DIR"
    assert expected in result.output


def test_scan_tells_the_plain_layout(tmp_path):
    write_image(tmp_path / "us" / "mine" / "a.png")
    (tmp_path / "us" / "mine" / "labels.csv").write_text("file,label\na.png,benign\n")
    result = run(scan, tmp_path)
    assert "the plain layout" in result.output
    assert "1 files to pack: 1 us" in result.output
    assert f"next  mermed-shard pack {tmp_path} --out DIR" in result.output


def test_what_scan_proposes_packs_with_the_labels_and_splits_of_the_recipe(tmp_path):
    source, out = tmp_path / "source", tmp_path / "packed"
    for number, name in enumerate(("CHNCXR_0001_0", "CHNCXR_0002_0", "CHNCXR_0327_1")):
        write_image(source / "ChinaSet_AllFiles" / "CXR_png" / f"{name}.png", size=(40, 48), seed=number)
    (tmp_path / "salt").write_text("a salt for tests, no secret")
    command = next(line for line in run(scan, source).output.splitlines() if line.startswith("next"))
    arguments = command.removeprefix("next  mermed-shard ").replace(" DIR", f" {out}").split(" ")
    result = run(main, *arguments, "--salt-file", tmp_path / "salt", "--workers", 1)
    assert result.exit_code == 0, result.output
    manifest = load_manifest(out)
    assert manifest.totals["packed"] == 3
    assert manifest.labels["cxr/shenzhen_tb"]["classes"] == ["normal", "tuberculosis"]
    assert "cxr/shenzhen_tb" in manifest.recipes


def test_scan_goes_on_when_a_known_dataset_cannot_be_listed(tmp_path):
    for name in ("deeplesion", "sars_cov_2"):
        (tmp_path / name).mkdir()
        MINIATURES[name](tmp_path / name)
    table = tmp_path / "deeplesion" / "DL_info.csv"
    table.write_text(table.read_text().replace("Train_Val_Test", "Split"))
    result = run(scan, tmp_path)
    assert result.exit_code == 0
    assert "cannot be packed as it is: a table lacks a column" in result.output
    assert f"next  mermed-shard pack {tmp_path / 'sars_cov_2'} --recipe sars_cov_2 --out DIR" in result.output


def test_scan_writes_a_draft_that_loads_and_lists_and_never_over_a_file(tmp_path):
    root = tmp_path / "skin"
    for number in range(4):
        write_image(root / ("nevus", "melanoma")[number % 2] / f"{number}.jpg", mode="RGB")
    out = tmp_path / "my.toml"
    result = run(scan, root, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"next  read and correct {out}" in result.output
    assert len(list_recipe(root, load_recipe(out)).images) == 4
    again = run(scan, root, "--out", out)
    assert isinstance(again.exception, ConfigError)
    assert "there already" in str(again.exception)


def test_scan_can_draft_where_a_dataset_is_known_and_prints_it(tmp_path):
    MINIATURES["sars_cov_2"](tmp_path)
    result = run(scan, tmp_path, "--draft")
    assert "# A draft by mermed-shard scan" in result.output
    assert "# 2 files to pack" in result.output


@pytest.mark.parametrize("content", [None, "text"])
def test_scan_of_nothing_to_pack_is_an_error_with_the_folder(content, tmp_path):
    path = tmp_path / "nothing"
    if content:
        path.mkdir()
        (path / "notes.md").write_text(content)
    result = run(scan, path)
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 2


def test_recipes_lists_every_recipe_with_access_and_licence():
    result = run(recipes)
    assert result.exit_code == 0
    assert "mimic_cxr_jpg" in result.output
    assert "credentialed" in result.output
    rows = {row["name"]: row for row in json.loads(run(recipes, "--json").output)}
    assert rows["mimic_cxr_jpg"]["images"] == 377110
    assert rows["radimagenet"]["modality"] == "{kind|lower}"
