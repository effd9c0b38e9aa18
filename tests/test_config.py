"""Settings: typed, nested, read back as written, and wrong names answered with the right ones."""

import pytest
import tomli_w

from mermed.config import MixConfig, differences, load_mix, load_run_config, to_mapping, with_settings
from mermed.errors import ConfigError
from mermed.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_toml(name):
    config = preset(name)
    assert config.preset == name
    assert load_run_config(tomli_w.dumps(to_mapping(config))) == config


def test_a_run_that_was_begun_before_crops_looked_at_what_they_show_goes_on_without():
    mapping = to_mapping(preset("smoke"))
    assert mapping["augment"].pop("foreground") is True
    assert load_run_config(tomli_w.dumps(mapping)).augment.foreground is False


def test_settings_are_typed_by_their_field():
    config = with_settings(
        preset("smoke"),
        ["optim.lr=1", "mix.drop=us,ct", "mix.weights.cxr=3", "queue.gate=false", "train.device=cpu", "model.init=a.b"],
    )
    assert config.optim.lr == 1.0
    assert isinstance(config.optim.lr, float)
    assert config.mix == MixConfig(drop=("us", "ct"), weights={"cxr": 3})
    assert config.queue.gate is False
    assert (config.train.device, config.model.init) == ("cpu", "a.b")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("augment.local_crop=3", "augment.local_px"),
        ("trian.steps=3", "train"),
        ("train.steps", "needs a value"),
        ("train.steps=many", "wrong type"),
        ("train.device=tpu", "no such choice"),
        ("train.deterministic=1", "wrong type"),
        ("queue.blocks=3", "must divide"),
        ("train.keep_last=0", "train.keep_last must be 1 or more"),
        ("train.batch=449", "fit into the queue"),
        ("train=3", "group of settings"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_next_step(setting, message):
    with pytest.raises(ConfigError) as caught:
        with_settings(preset("smoke"), [setting])
    assert message in str(caught.value)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match="vit_b16"):
        preset("vit_b")


def test_a_mix_file_is_laid_over_the_mix_of_the_preset():
    mix = load_mix("alpha = 1\n[weights]\ncxr = 2\n", MixConfig(drop=("us",)))
    assert mix == MixConfig(alpha=1.0, weights={"cxr": 2}, drop=("us",))
    with pytest.raises(ConfigError, match="weights"):
        load_mix("weight = 1")
    with pytest.raises(ConfigError, match="not TOML"):
        load_mix("weights")


def test_differences_name_each_changed_setting():
    before = preset("smoke")
    after = with_settings(before, ["train.steps=7", "mix.weights.us=2"])
    assert before == preset("smoke")
    assert differences(before, after) == [
        "mix.weights: {} -> None",
        "train.steps: 60 -> 7",
        "mix.weights.us: None -> 2",
    ]
