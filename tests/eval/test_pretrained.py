"""The run folder as evaluation reads it: constants, progress, and what pretraining has seen."""

from dataclasses import replace

import numpy as np
import pytest

from mermed.contract import load_manifest
from mermed.errors import ConfigError, ResumeError
from mermed.eval.pretrained import constants_for, leak_of, open_run


def test_a_run_tells_how_far_it_came(small_run, small_collection):
    run = open_run(small_run)
    assert (run.checkpoint, run.step, run.images_seen) == ("step-000000004", 4, 56)
    assert run.manifest_digest == load_manifest(small_collection).digest


def test_a_folder_that_is_no_run_is_answered_with_how_to_make_one(tmp_path):
    with pytest.raises(ResumeError, match="mermed-train run"):
        open_run(tmp_path)


def test_constants_are_the_runs_and_in_the_order_asked_for(small_run, small_collection):
    constants, unknown = constants_for(open_run(small_run), ("us", "oct"), load_manifest(small_collection))
    assert unknown == ()
    assert constants.mean == pytest.approx(np.full((2, 3), 0.4))


def test_a_modality_the_run_never_saw_takes_the_collections_constants(make_run, small_collection):
    run = open_run(make_run("cxr-only", modalities=("cxr",)))
    constants, unknown = constants_for(run, ("cxr", "us"), load_manifest(small_collection))
    assert unknown == ("us",)
    assert constants.mean[:, 0] == pytest.approx([0.4, 0.5])


def test_a_modality_nobody_has_constants_for_is_an_error(make_run, small_collection):
    manifest = replace(load_manifest(small_collection), stats={})
    with pytest.raises(ConfigError, match="mermed-shard stats"):
        constants_for(open_run(make_run("run", modalities=("cxr",))), ("us",), manifest)


def test_a_run_that_drew_from_the_test_split_is_leaky(make_run, small_collection):
    manifest = load_manifest(small_collection)
    assert leak_of(open_run(make_run("a")), manifest, "us").status == "none found"
    greedy = open_run(make_run("b", splits=("train", "test")))
    assert leak_of(greedy, manifest, "us").status == "LEAKY"
    assert leak_of(replace(greedy, manifest_digest="another"), manifest, "us").status == "not checked"
    dropped = replace(greedy, config=replace(greedy.config, mix=replace(greedy.config.mix, drop=("us",))))
    assert leak_of(dropped, manifest, "us").status == "none found"
