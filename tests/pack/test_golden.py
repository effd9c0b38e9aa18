"""The golden collection and the schema in shards/: read for ever, never made again."""

import importlib.util
import json
from pathlib import Path

import pytest

from mermed.contract import FORMAT_VERSION, Manifest, SampleMeta, load_manifest
from mermed.pack.checks.verify import verify
from mermed.pack.collection.schema import contract_schema

SHARDS = Path(__file__).resolve().parents[2] / "shards"


@pytest.fixture(scope="module")
def make_golden():
    spec = importlib.util.spec_from_file_location("make_golden", SHARDS.parent / "tools" / "make_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_golden_version_is_read_as_it_was_packed(version, make_golden):
    folder = SHARDS / "golden" / f"v{version}"
    stored = json.loads((folder / "expected.json").read_text())
    assert verify(folder).problems == ()
    found = make_golden.describe(folder)
    assert found["shards"] == stored["shards"]
    assert make_golden.differences(stored, found) == []
    assert {sample["labels"].get("class") for sample in stored["samples"].values()} >= {"normal", "nevus", "benign"}


def test_golden_is_small():
    assert sum(path.stat().st_size for path in (SHARDS / "golden").rglob("*") if path.is_file()) < 300_000


def test_a_changed_sample_would_be_refused(make_golden):
    stored = json.loads((SHARDS / "golden" / f"v{FORMAT_VERSION}" / "expected.json").read_text())
    changed = json.loads(json.dumps(stored))
    key = next(iter(changed["samples"]))
    changed["samples"][key]["labels"] = {"class": "other"}
    assert make_golden.differences(stored, changed) == [f"{key}: labels differs"]
    changed["samples"][key]["labels"] = stored["samples"][key]["labels"]
    changed["samples"][key]["pixel_sum"] *= 1.1
    assert make_golden.differences(stored, changed) == [f"{key}: pixels differ"]
    del changed["samples"][key]
    assert make_golden.differences(stored, changed) == ["the set of sample keys differs"]


def test_the_schema_in_git_is_that_of_the_contract():
    assert json.loads((SHARDS / "manifest.schema.json").read_text()) == contract_schema(), "python tools/make_golden.py"


def test_the_schema_names_exactly_what_is_written(collection):
    schema = contract_schema()
    manifest = load_manifest(collection)
    written = json.loads(manifest.encode())
    assert set(written) == set(schema["properties"])
    assert set(written["shards"][0]) == set(schema["$defs"]["ShardRow"]["properties"])
    meta = SampleMeta(key="a", modality="us", dataset="s", split="train", group="g", width=1, height=1, source_bits=8)
    assert set(json.loads(meta.encode(b""))) == set(schema["$defs"]["Sample"]["properties"])
    assert Manifest.decode(manifest.encode()) == manifest
