"""A whole pack: equal bytes every time, every input accounted for, nothing left behind by a pack that died."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from mermed.contract import load_manifest
from mermed.errors import ConfigError, EnvironmentError_, IntegrityError, SampleError
from mermed.pack.collection.accounts import Accounts
from mermed.pack.packing import check_bad_share
from mermed.pack.progress import ModalityProgress
from mermed.pack.work.engine import LocalEngine
from mermed.tar import check_shard


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def samples(out):
    return [sample for row in load_manifest(out).shards for sample in check_shard(out / row.name, row)]


def many_rows(count=30):
    return [{"file": f"{n:02d}.png", "label": "ab"[n % 2], "patient_id": str(n // 2)} for n in range(count)]


def test_packing_twice_and_with_any_number_of_hands_gives_equal_bytes_for_every_file(phantoms, pack_source, tmp_path):
    trees = []
    for name, hands in (("none", 0), ("again", 0), ("one", 1), ("three", 3)):
        pack_source(phantoms, out=tmp_path / name, engine=LocalEngine(hands=hands))
        trees.append(tree(tmp_path / name))
    assert trees[0] == trees[1] == trees[2] == trees[3]
    assert any(name.endswith(".tar") for name in trees[0])


def test_the_accounts_of_the_phantoms_close_with_every_reason(collection, listed):
    totals = load_manifest(collection).totals
    assert totals == {"inputs": 7 * 14 + 7, "packed": 7 * 14, "duplicates": 1, "excluded": 1, "quarantined": 5}
    reasons = Counter(
        row["reason"] for name in ("quarantine", "excluded") for row in listed(collection / f"{name}.csv")
    )
    # The beginning of a film cannot be opened by its reader, nor without it.
    film = "corrupt" if find_spec("av") else "missing_extra"
    assert reasons == Counter(["missing", "not_an_image", "truncated", "empty", "not_listed", film])
    assert [row["reason"] for row in listed(collection / "duplicates.csv")] == ["same_pixels"]


def test_totals_that_do_not_close_are_an_error(tmp_path):
    with Accounts(tmp_path) as accounts, pytest.raises(IntegrityError, match="do not close"):
        accounts.totals(3)


def test_splits_csv_lists_every_sample_and_no_file(collection, listed):
    rows = {row["key"]: row for row in listed(collection / "splits.csv")}
    metas = {sample.meta.key: sample.meta for sample in samples(collection)}
    assert rows.keys() == metas.keys()
    assert all((rows[k]["split"], rows[k]["group"]) == (metas[k].split, metas[k].group) for k in rows)
    columns = {"key", "split", "group", "modality", "dataset", "label", "pixels", "perceptual"}
    assert set(next(iter(rows.values()))) == columns


def test_no_group_crosses_splits_and_each_shard_holds_one_dataset(collection):
    splits = {}
    for row in load_manifest(collection).shards:
        for sample in check_shard(collection / row.name, row):
            meta = sample.meta
            assert (meta.modality, meta.dataset, meta.split) == (row.modality, row.dataset, row.split)
            assert splits.setdefault((meta.dataset, meta.group), meta.split) == meta.split


def test_no_identifier_of_a_patient_or_file_is_in_shards_or_manifest(collection):
    planted = (b"patient-0", b"Phantom^Number", b"PHANTOM0", b"cxr_0001", b"us_0001", b"images/")
    for path in [*collection.rglob("*.tar"), *collection.rglob("*.idx"), collection / "manifest.json"]:
        content = path.read_bytes()
        assert not [word for word in planted if word in content], path.name
    assert b"Exif" not in b"".join(sample.image[:64] for sample in samples(collection))


def test_labels_licences_and_units_reach_the_sample(write_source, pack_source):
    rows = [
        {"file": "a.png", "label": "x", "licence": "CC BY 4.0"},
        {"file": "b.png", "label": ""},
        {"file": "c.png", "label": "w"},
    ]
    out, result = pack_source(write_source(rows))
    metas = {str(sample.meta.labels): sample.meta for sample in samples(out)}
    assert metas["{'class': 'x'}"].licence == "CC BY 4.0"
    assert metas["{}"].licence is None
    assert (metas["{}"].width, metas["{}"].height, metas["{}"].source_bits) == (48, 40, 8)
    assert result.manifest.labels == {"us/set": {"kind": "multi-class", "classes": ["w", "x"]}}


def test_samples_lie_in_the_order_of_a_keyed_hash(write_source, pack_source):
    rows = [{"file": f"{n:03d}.png", "label": "x", "split": "train"} for n in range(60)]
    out, _ = pack_source(write_source(rows))
    keys = [sample.meta.key for sample in samples(out)]
    assert keys == sorted(keys)
    identity_order = {f"{n:03d}.png": n for n in range(60)}
    from mermed.pack.identity import Identity

    identity = Identity(b"a salt for tests, no secret")
    place_of = {identity.sample_key("us", "set", file): n for file, n in identity_order.items()}
    order = [place_of[key] for key in keys]
    assert abs(np.corrcoef(order, range(60))[0, 1]) < 0.4


def test_shards_of_a_modality_are_numbered_over_its_datasets(write_source, pack_source):
    rows = [{"file": f"{n}.png", "label": "x", "split": "train"} for n in range(3)]
    write_source(rows, dataset="b_set")
    _, result = pack_source(write_source(rows, dataset="a_set"))
    assert [(row.name, row.dataset) for row in result.manifest.shards] == [
        ("us/train/us-train-000000.tar", "a_set"),
        ("us/train/us-train-000001.tar", "b_set"),
    ]


@pytest.mark.parametrize(
    ("labels", "splits", "reason"),
    [
        (("x", "x"), ("train", "train"), "same_pixels"),
        (("x", "y"), ("train", "train"), "same_pixels_other_label"),
        (("x", "x"), ("train", "test"), "same_pixels_other_split"),
    ],
)
def test_of_equal_images_one_is_kept_and_it_is_the_held_out_one(
    labels, splits, reason, write_source, pack_source, listed
):
    rows = [{"file": f"{n}.png", "label": labels[n], "split": splits[n]} for n in range(2)]
    source = write_source(rows)
    with Image.open(source / "us" / "set" / "0.png") as image:
        image.save(source / "us" / "set" / "1.png", compress_level=0)
    out, _ = pack_source(source)
    (kept,) = samples(out)
    (dropped,) = listed(out / "duplicates.csv")
    assert dropped["reason"] == reason
    assert kept.meta.key in dropped["detail"]
    assert kept.meta.split == max(splits, key=["train", "val", "test"].index)


def test_the_png_codec_stores_the_pixels_themselves(write_source, pack_source):
    source = write_source([{"file": "a.png", "label": "x"}])
    out, _ = pack_source(source, codec="png")
    (sample,) = samples(out)
    with Image.open(source / "us" / "set" / "a.png") as image:
        from mermed.pack.pixels.encode import decode_image

        assert decode_image(sample.image, sample.extension).tobytes() == image.tobytes()


def test_progress_counts_every_input_once(write_source, identity, tmp_path):
    from mermed.pack.options import PackOptions
    from mermed.pack.packing import pack

    source = write_source([*many_rows(10), {"file": "gone.png", "label": "x", "make": False}])
    (source / "us" / "set" / "extra.png").write_bytes(b"x")
    seen = []
    facts = {"options": PackOptions(), "identity": identity, "engine": LocalEngine(hands=0)}
    pack(source, tmp_path / "out", **facts, watch=lambda p: seen.append(p["us"]))
    size = sum(path.stat().st_size for path in (source / "us" / "set").glob("0*.png"))
    assert seen[-1] == ModalityProgress(done=11, total=11, read_bytes=size, bad=1)
    assert [p.done for p in seen] == list(range(1, 12))


def test_too_many_bad_inputs_are_an_error_after_the_good_ones_are_packed(write_source, pack_source):
    source = write_source([*many_rows(8), *({"file": f"gone{n}.png", "label": "x", "make": False} for n in range(2))])
    out, result = pack_source(source)
    assert len(samples(out)) == 8
    check_bad_share(result, 0.2, out)
    with pytest.raises(SampleError, match=r"2 of 10 \(20.0%\)") as caught:
        check_bad_share(result, 0.19, out)
    assert caught.value.exit_code == 3


def test_a_source_without_one_good_image_ends_without_a_manifest_and_can_be_tried_again(write_source, pack_source):
    rows = [{"file": "gone.png", "label": "x", "make": False}]
    with pytest.raises(SampleError, match="1 missing") as caught:
        pack_source(write_source(rows))
    out = caught.value.next_step.split("see ")[1].removesuffix("/quarantine.csv")
    assert "manifest.json" not in os.listdir(out)
    pack_source(write_source([{"file": "there.png", "label": "x"}]))


def test_an_output_folder_with_anything_in_it_is_left_alone(write_source, pack_source, tmp_path):
    source = write_source(many_rows(4))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        pack_source(source, out=tmp_path / "mine")


def test_what_an_unfinished_pack_left_is_swept_away(write_source, pack_source, tmp_path):
    source = write_source(many_rows())
    pack_source(source, out=tmp_path / "clean")
    out = tmp_path / "out"
    for name in ("us/train/us-train-000007.tar", "us/train/us-train-000007.idx", "us/val/.tmp-us-val-000000.tar"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"half")
    for name in (".packing", ".tmp-manifest.json", "quarantine.csv"):
        (out / name).write_bytes(b"half")
    pack_source(source)
    assert tree(out) == tree(tmp_path / "clean")


def test_an_unfinished_pack_with_foreign_files_is_left_to_its_owner(write_source, pack_source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".packing").write_bytes(b"")
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="other files"):
        pack_source(write_source(many_rows(4)))
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_two_packs_cannot_write_to_one_folder(write_source, pack_source, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".packing").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another pack"):
            pack_source(write_source(many_rows(4)))


KILLED = """
import os, signal, sys
from pathlib import Path
from mermed.pack.identity import Identity
from mermed.pack.options import PackOptions
from mermed.pack.packing import pack

def watch(progress):
    if progress["us"].done == {done}:
        os.kill(os.getpid(), signal.SIGKILL)

identity = Identity(b"a salt for tests, no secret")
pack(Path(sys.argv[1]), Path(sys.argv[2]), options=PackOptions(), identity=identity, watch=watch)
"""


@pytest.mark.parametrize("done", [1, 15, 30])
def test_a_killed_pack_leaves_no_manifest_and_the_next_gives_the_same_bytes(done, write_source, pack_source, tmp_path):
    source = write_source(many_rows())
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED.format(done=done), str(source), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    pack_source(source)
    pack_source(source, out=tmp_path / "clean")
    assert tree(out) == tree(tmp_path / "clean")


def test_an_interrupted_pack_ends_with_130(write_source, tmp_path):
    source = write_source(many_rows(200))
    (tmp_path / "salt").write_text("a salt for tests, no secret")
    command = [sys.executable, "-m", "mermed.cli.shard", "pack", source, "--out", tmp_path / "out", "--workers", "2"]
    process = subprocess.Popen([*command, "--salt-file", tmp_path / "salt"], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / ".packing").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_full_disk_is_an_error_and_the_same_command_works_once_there_is_room(
    write_source, pack_source, tmp_path, monkeypatch
):
    import errno

    source = write_source(many_rows(6))

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentError_, match="No space left") as caught:
            pack_source(source)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "out" / "manifest.json").exists()
    pack_source(source)


def test_the_manifest_states_the_recipe_and_the_tools(collection):
    manifest = json.loads((collection / "manifest.json").read_text())
    assert set(manifest["recipes"]) == {"options"}
    assert {"mermed", "pillow", "pydicom"} <= set(manifest["tool"])
    assert set(manifest["stats"]) == {"cfp", "ct", "cxr", "derm", "oct", "path", "us"}
