"""The mix as people write it: tables, changes in steps or slots, what is refused and how."""

from pathlib import Path

import pytest
import tomli_w

from mermed.config import differences, load_mix, load_run_config, to_mapping, with_settings
from mermed.errors import ConfigError
from mermed.mix_config import MixChange, MixConfig
from mermed.presets import preset

FILE = """
alpha = 1
drop = ["path"]
[weights]
us = 0
[datasets]
"cxr/nih" = 3
[[changes]]
step = 50
weights = { us = 2 }
[[changes]]
slot = 900
datasets = { "cxr/nih" = 1 }
"""


def test_a_mix_file_names_modalities_datasets_and_changes():
    mix = load_mix(FILE)
    assert mix.datasets == {"cxr/nih": 3}
    assert mix.changes == (MixChange(step=50, weights={"us": 2}), MixChange(slot=900, datasets={"cxr/nih": 1}))
    stages = mix.settled(batch=10).stages()
    assert [(stage.slot, dict(stage.weights), dict(stage.datasets)) for stage in stages] == [
        (0, {"us": 0}, {"cxr/nih": 3}),
        (500, {"us": 2}, {"cxr/nih": 3}),
        (900, {"us": 2}, {"cxr/nih": 1}),
    ]


def test_a_run_keeps_the_slots_of_its_changes_so_another_batch_later_moves_nothing():
    begun = with_settings(preset("smoke"), ["train.batch=20"])
    begun = with_settings(type(begun)(**{**vars(begun), "mix": load_mix(FILE)}), ["train.batch=14"])
    assert [change.slot for change in begun.mix.changes] == [700, 900]
    stored = load_run_config(tomli_w.dumps(to_mapping(begun)))
    assert stored == begun
    again = with_settings(stored, ["train.batch=28"])
    assert again.mix == begun.mix
    assert differences(begun, again) == ["train.batch: 14 -> 28"]


def test_settings_on_the_command_line_reach_datasets_too():
    config = with_settings(preset("smoke"), ["mix.datasets.cxr/nih=2", "mix.weights.us=3", "mix.drop=oct,cxr/few"])
    assert config.mix == MixConfig(datasets={"cxr/nih": 2}, weights={"us": 3}, drop=("oct", "cxr/few"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[changes]]\nweights = { us = 1 }", "needs the slot or the step"),
        ("[[changes]]\nslot = 5\nstep = 5\nweights = { us = 1 }", "needs the slot or the step"),
        ("[[changes]]\nstep = -1\nweights = { us = 1 }", "needs the slot or the step"),
        ("[[changes]]\nslott = 5", "did you mean 'changes\\[0\\].slot'"),
        ("[weights]\nus = -1", "a weight counts images"),
        ("[weights]\nus = 0.5", "wrong type"),
        ("[datasets]\nnih = 1", "modality/dataset"),
        ("[[changes]]\nslot = 5\ndatasets = { nih = 1 }", "modality/dataset"),
    ],
)
def test_a_mix_that_says_nothing_clear_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        load_mix(text)


def test_changes_out_of_order_or_still_in_steps_are_refused_where_they_are_used():
    with pytest.raises(ConfigError, match="not in order"):
        MixConfig(changes=(MixChange(slot=9, weights={"us": 1}), MixChange(slot=9, weights={"us": 2}))).stages()
    with pytest.raises(ConfigError, match="step 4, not yet a slot"):
        MixConfig(changes=(MixChange(step=4, weights={"us": 1}),)).stages()


def test_a_modality_counts_as_drawn_when_any_stage_draws_it():
    later = (MixChange(slot=5, weights={"us": 1}),)
    assert MixConfig().draws("us")
    assert not MixConfig(weights={"us": 0}).draws("us")
    assert MixConfig(weights={"us": 0}, changes=later).draws("us")
    assert not MixConfig(weights={"us": 0}, changes=later, drop=("us",)).draws("us")
    assert MixConfig(changes=(MixChange(slot=5, weights={"us": 0}),)).draws("us")


def test_every_mix_that_comes_with_the_shards_can_be_read():
    files = sorted((Path(__file__).resolve().parent.parent / "shards" / "mixes").glob("*.toml"))
    assert {file.stem for file in files} >= {"equal", "staged"}
    for file in files:
        mix = load_mix(file.read_text("utf-8")).settled(batch=256)
        assert [stage.slot for stage in mix.stages()] == [0, *(change.slot for change in mix.changes)]
