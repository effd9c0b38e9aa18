"""Weights on disk: foreign layouts, damaged checkpoints, the four encoders of a run."""

import argparse
import json
import warnings

import pytest
import timm
import tomli_w
import torch
import xxhash
from safetensors.torch import save_file

from mermed.config import AugmentConfig, RunConfig, to_mapping
from mermed.errors import ConfigError, ResumeError
from mermed.model.encoder import build_encoder
from mermed.model.weights import encoder_from_run, latest_checkpoint, load_init


def encoder(config, seed=0, px=32):
    return build_encoder(config, px, drop_path=0.0, seed=seed)


def prefixed(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


LAYOUTS = {
    "plain": lambda w: w,
    "wrapped": lambda w: {"state_dict": prefixed("module.", w)},
    "dino": lambda w: {
        "student": prefixed("module.backbone.", {name: tensor + 1 for name, tensor in w.items()}),
        "teacher": prefixed("backbone.", w),
        "epoch": 100,
    },
    "flat teacher and student": lambda w: {
        **prefixed("student.encoder.", {name: tensor + 1 for name, tensor in w.items()}),
        **prefixed("teacher.encoder.", w),
    },
    "with classifier": lambda w: {"model": {**w, "head.weight": torch.zeros(10, 192), "head.bias": torch.zeros(10)}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_in_every_common_layout(tiny_config, tmp_path, layout):
    donor, target = encoder(tiny_config, seed=1), encoder(tiny_config, seed=2)
    torch.save(LAYOUTS[layout](donor.state_dict()), tmp_path / "weights.pth")
    report = load_init(target, tmp_path / "weights.pth")
    assert not report.missing and len(report.matched) == len(donor.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(donor.parameters(), target.parameters(), strict=True))
    if layout == "with classifier":
        assert set(report.unexpected) == {"head.weight", "head.bias"}
        assert "not used: head" in str(report)


def test_safetensors_are_read_whatever_their_name(tiny_config, tmp_path):
    donor, target = encoder(tiny_config, seed=1), encoder(tiny_config, seed=2)
    save_file(prefixed("encoder.", donor.state_dict()), tmp_path / "teacher.bin")
    report = load_init(target, tmp_path / "teacher.bin")
    assert report.prefix == "encoder." and not report.missing
    assert torch.equal(target.cls_token, donor.cls_token)


def test_the_position_embedding_is_resampled_to_this_grid(tiny_config, tmp_path):
    donor, target = encoder(tiny_config, seed=1, px=64), encoder(tiny_config, seed=2, px=32)
    save_file(donor.state_dict(), tmp_path / "large.safetensors")
    report = load_init(target, tmp_path / "large.safetensors")
    expected = timm.layers.resample_abs_pos_embed(donor.pos_embed, new_size=(2, 2), num_prefix_tokens=1)
    assert not report.missing
    assert torch.allclose(target.pos_embed, expected)


def test_tensors_the_file_lacks_are_reported_and_stay(tiny_config, tmp_path):
    donor, target = encoder(tiny_config, seed=1), encoder(tiny_config, seed=2)
    kept = target.blocks[11].mlp.fc2.weight.clone()
    weights = {name: tensor for name, tensor in donor.state_dict().items() if not name.startswith("blocks.11.mlp.")}
    save_file(weights, tmp_path / "part.safetensors")
    report = load_init(target, tmp_path / "part.safetensors")
    assert all(name.startswith("blocks.11.mlp.") for name in report.missing) and len(report.missing) == 4
    assert torch.equal(target.blocks[11].mlp.fc2.weight, kept)
    assert "left at random: blocks.11.mlp" in str(report)


def test_weights_of_another_architecture_are_refused_and_change_nothing(tiny_config, tmp_path):
    small = timm.create_model("vit_small_patch16_224", num_classes=0, img_size=32, depth=1)
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    target = encoder(tiny_config)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(ConfigError, match="do not fit the encoder"):
        load_init(target, tmp_path / "small.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_a_file_without_a_class_token_is_refused(tiny_config, tmp_path):
    save_file({"layer.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"0 that fit, among 1 such as layer\.weight"):
        load_init(encoder(tiny_config), tmp_path / "other.safetensors")


def test_a_pickled_object_is_refused_and_not_run(tiny_config, tmp_path):
    torch.save({"args": argparse.Namespace(a=1), "model": {}}, tmp_path / "pickled.pth")
    (tmp_path / "noise.pth").write_bytes(b"not weights at all")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff\0\0\0\0\0\0\0{" + b'"a":')
    for name in ("pickled.pth", "noise.pth", "cut.safetensors"):
        with pytest.raises(ConfigError, match="cannot be read safely"):
            load_init(encoder(tiny_config), tmp_path / name)


def test_a_missing_file_is_reported_and_nothing_is_downloaded(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match="never downloads"):
        load_init(encoder(tiny_config), tmp_path / "absent.pth")


def write_checkpoint(run, step, tensors):
    folder = run / "checkpoints" / f"step-{step:09d}"
    folder.mkdir(parents=True)
    files = {}
    for name, content in tensors.items():
        save_file(content, folder / name)
        blob = (folder / name).read_bytes()
        files[name] = {"bytes": len(blob), "xxh3": xxhash.xxh3_64_hexdigest(blob)}
    (folder / "state.json").write_text(json.dumps({"step": step, "files": files}))
    return folder


@pytest.fixture
def two_checkpoints(tmp_path):
    content = {"teacher.safetensors": {"encoder.a": torch.arange(4.0)}, "queue.safetensors": {"keys": torch.ones(3)}}
    return tmp_path, [write_checkpoint(tmp_path, step, content) for step in (20, 100)]


def test_the_newest_whole_checkpoint_is_found(two_checkpoints):
    run, (_, new) = two_checkpoints
    (run / "checkpoints" / ".step-000000120.tmp").mkdir()
    found = latest_checkpoint(run)
    assert found.path == new and found.skipped == ()


DAMAGES = {
    "truncated": (lambda f: (f / "queue.safetensors").write_bytes(b"x"), "queue.safetensors has 1 bytes instead of"),
    "deleted": (lambda f: (f / "queue.safetensors").unlink(), "queue.safetensors is missing"),
    "no state": (lambda f: (f / "state.json").unlink(), "state.json is missing or damaged"),
    "cut state": (lambda f: (f / "state.json").write_text('{"files": {"tea'), "state.json is missing or damaged"),
    "state of another shape": (lambda f: (f / "state.json").write_text('{"files": [1]}'), "missing or damaged"),
    "no files": (lambda f: (f / "state.json").write_text('{"files": {}}'), "state.json names no files"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_named_to_the_caller(two_checkpoints, damage):
    run, (old, new) = two_checkpoints
    break_it, reason = DAMAGES[damage]
    break_it(new)
    with warnings.catch_warnings(record=True) as raised:
        found = latest_checkpoint(run)
    assert found.path == old and not raised
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("step-000000100 (") and reason in found.skipped[0]


def test_a_flipped_bit_of_a_checkpoint_is_found(two_checkpoints):
    run, (old, new) = two_checkpoints
    blob = bytearray((new / "teacher.safetensors").read_bytes())
    blob[-1] ^= 1
    (new / "teacher.safetensors").write_bytes(blob)
    found = latest_checkpoint(run)
    assert found.path == old
    assert found.skipped == ("step-000000100 (the bytes of teacher.safetensors changed)",)


def test_a_run_without_a_whole_checkpoint_cannot_go_on(tmp_path):
    with pytest.raises(ResumeError, match="no whole checkpoint"):
        latest_checkpoint(tmp_path)


@pytest.fixture
def finished_run(tmp_path, tiny_config):
    config = RunConfig(model=tiny_config, augment=AugmentConfig(global_px=32, local_px=16))
    (tmp_path / "config.toml").write_text(tomli_w.dumps(to_mapping(config)))
    save_file(encoder(tiny_config, seed=10).state_dict(), tmp_path / "initial.safetensors")
    networks = {
        f"{name}.safetensors": {
            **prefixed("encoder.", encoder(tiny_config, seed=seed).state_dict()),
            "head.layers.0.weight": torch.zeros(2),
        }
        for name, seed in (("student", 11), ("teacher", 12))
    }
    write_checkpoint(tmp_path, 40, networks)
    return tmp_path, config


@pytest.mark.parametrize(("which", "seed"), [("initial", 10), ("student", 11), ("teacher", 12)])
def test_a_run_gives_back_the_encoders_it_saved(finished_run, tiny_config, which, seed):
    run, config = finished_run
    found, found_config = encoder_from_run(run, which, seed=0)
    assert found_config == config
    assert not found.training and not any(p.requires_grad for p in found.parameters())
    expected = encoder(tiny_config, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))


def test_random_weights_follow_the_seed_and_are_never_the_initial_ones(finished_run):
    run, config = finished_run
    first, again, other = (encoder_from_run(run, "random", seed=s)[0].blocks[0].attn.qkv.weight for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, encoder(config.model, seed=config.seed).blocks[0].attn.qkv.weight)


def test_the_encoder_is_not_taken_from_an_older_checkpoint_in_silence(finished_run):
    run, _ = finished_run
    (run / "checkpoints" / "step-000000080").mkdir()
    with pytest.raises(
        ResumeError, match=r"newest checkpoint of the run is damaged[\s\S]*delete it to use step-000000040"
    ):
        encoder_from_run(run, "teacher", seed=0)


def test_a_folder_that_is_no_run_or_lacks_the_weights_is_refused(finished_run, tmp_path_factory):
    run, _ = finished_run
    (run / "initial.safetensors").unlink()
    with pytest.raises(ResumeError, match="the run has no initial weights"):
        encoder_from_run(run, "initial", seed=0)
    with pytest.raises(ResumeError, match="this folder is not a run"):
        encoder_from_run(tmp_path_factory.mktemp("empty"), "teacher", seed=0)
