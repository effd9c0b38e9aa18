"""The webdataset view: our samples to the byte, shared out once, checked, and no way to a shell or a pickle."""

import gzip
import io
import json
import os
import shutil
import sys
import tarfile

import pytest
import torch
from torch.utils.data import DataLoader

from mermed import tar
from mermed.contract import load_manifest
from mermed.errors import ConfigError, ContractError, EnvironmentError_, IntegrityError
from mermed.stream.image import decode_rgb
from mermed.stream.pipeline import webdataset_pipeline

wds = pytest.importorskip("webdataset")
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores


@pytest.fixture(autouse=True)
def _own_switch():
    """The library's switch as other tests expect it."""
    before = wds.utils.enforce_security
    yield
    wds.utils.enforce_security = before


def _rows(folder, split="train"):
    return [row for row in load_manifest(folder).shards if row.split == split]


def _ours(folder, split="train"):
    return [sample for row in _rows(folder, split) for sample in tar.check_shard(folder / row.name, row)]


def test_it_gives_our_samples_with_the_same_keys_and_bytes(collection):
    theirs, ours = list(webdataset_pipeline(collection)), _ours(collection)
    assert len(ours) > 40
    assert [sample["__key__"] for sample in theirs] == [sample.meta.key for sample in ours]
    assert [sample.get("jpg", sample.get("png")) for sample in theirs] == [sample.image for sample in ours]
    assert [sample["json"] for sample in theirs] == [sample.meta.encode(sample.image) for sample in ours]


def test_splits_and_modalities_are_kept_apart(collection):
    tested = sorted({row.modality for row in _rows(collection, "test")})[:2]
    both = list(webdataset_pipeline(collection, splits=("train", "test"), modalities=tuple(tested)))
    assert {json.loads(sample["json"])["modality"] for sample in both} == set(tested)
    assert {json.loads(sample["json"])["split"] for sample in both} == {"train", "test"}
    with pytest.raises(ConfigError, match="no such modality"):
        webdataset_pipeline(collection, modalities=("mri",))


def test_decoding_uses_our_decoders_alone(collection):
    for ours, sample in zip(_ours(collection), webdataset_pipeline(collection, decode=True), strict=True):
        assert set(sample) == {"__key__", "__url__", "image", "json"}
        assert torch.equal(sample["image"], torch.from_numpy(decode_rgb(ours.image, ours.meta)).permute(2, 0, 1))
        assert sample["json"]["group"] == ours.meta.group


def test_seed_and_epoch_shuffle_the_shards_and_lose_none(collection):
    def order(**settings):
        return [sample["__url__"] for sample in webdataset_pipeline(collection, **settings)]

    first, again, second = order(seed=3), order(seed=3), order(seed=3, epoch=1)
    assert first == again
    assert first != second
    assert sorted(first) == sorted(second) == sorted(order())


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_share_the_shards_without_overlap(collection, monkeypatch, workers):
    keys = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        loader = DataLoader(webdataset_pipeline(collection), batch_size=None, num_workers=workers)
        keys += [sample["__key__"] for sample in loader]
    assert sorted(keys) == sorted(sample.meta.key for sample in _ours(collection))


def test_fewer_shards_than_ranks_are_refused_and_nobody_waits(collection, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "100")
    with pytest.raises(ConfigError, match="would get no shard"):
        next(iter(webdataset_pipeline(collection)))


def test_it_goes_on_fluently(collection):
    batches = list(webdataset_pipeline(collection).map(lambda sample: sample["__key__"]).listed(10))
    assert len(batches[0]) == 10
    shuffled = webdataset_pipeline(collection).shuffle(1000)
    assert sum(1 for _ in shuffled) == len(_ours(collection))


def test_the_library_is_secured_and_its_own_ways_in_are_shut(collection, tmp_path):
    canary = tmp_path / "canary"
    list(webdataset_pipeline(collection))
    assert wds.utils.enforce_security is True
    with pytest.raises(ValueError, match="pipe"):
        wds.gopen(f"pipe:touch {canary}", "rb")
    with pytest.raises(ConfigError):
        webdataset_pipeline(f"pipe:touch {canary} ://")
    assert not canary.exists()


def test_a_shard_that_is_not_in_the_manifest_is_not_read(collection, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(collection, folder)
    row = _rows(folder)[0]
    shutil.copy(folder / row.name, (folder / row.name).with_name("unfinished-000099.tar"))
    assert sum(1 for _ in webdataset_pipeline(folder)) == len(_ours(collection))


@pytest.fixture
def damaged(collection, tmp_path):
    """A copy of the collection, its first training shard of several samples, and where that shard's samples lie."""
    folder = tmp_path / "damaged"
    shutil.copytree(collection, folder)
    row = next(row for row in _rows(folder) if row.samples > 3)
    return folder / row.name, row, tar.parse_index((folder / row.index_name).read_text(), row.name)


def _read(path, row):
    return list(webdataset_pipeline(path.parents[2], modalities=(row.modality,)))


def test_a_flipped_byte_is_an_error_wherever_it_is(damaged):
    path, row, spans = damaged
    whole = path.read_bytes()
    places = {
        "image": spans[1].image.offset + 40,
        "json": spans[1].meta.offset + 9,
        "header": spans[2].image.offset - 500,
        "first header": 4,
    }
    for place in places.values():
        content = bytearray(whole)
        content[place] ^= 0x11
        path.write_bytes(content)
        with pytest.raises((IntegrityError, ContractError), match=row.name):
            _read(path, row)


def test_a_tar_that_webdataset_would_shorten_in_silence_is_an_error(damaged):
    path, row, spans = damaged
    content = bytearray(path.read_bytes())
    content[spans[2].image.offset - tar.BLOCK_BYTES : spans[2].image.offset] = bytes(tar.BLOCK_BYTES)
    path.write_bytes(content)
    wds.utils.enforce_security = False
    stream = iter([{"url": "x", "stream": io.BytesIO(content)}])
    grouped = list(wds.tariterators.group_by_keys(wds.tariterators.tar_file_expander(stream)))
    assert len(grouped) == 2 < row.samples  # what the library alone does
    with pytest.raises(IntegrityError, match="fewer samples"):
        _read(path, row)


def test_a_cut_shard_and_a_compressed_one_are_errors(damaged):
    path, row, _ = damaged
    content = path.read_bytes()
    path.write_bytes(content[:-4096])
    with pytest.raises(IntegrityError, match="another size"):
        _read(path, row)
    packed = gzip.compress(content)
    path.write_bytes(packed[: row.bytes].ljust(row.bytes, b"\0"))
    with pytest.raises((IntegrityError, ContractError), match=row.name):
        _read(path, row)


def test_a_member_that_is_neither_image_nor_json_is_refused_unopened(damaged, tmp_path):
    path, row, _ = damaged
    with tarfile.open(path) as shard:
        members = [(member, shard.extractfile(member).read()) for member in shard]
    canary = tmp_path / "canary"
    bomb = f"cos\nsystem\n(S'touch {canary}'\ntR.".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for number, (member, content) in enumerate(members):
            shard.addfile(member, io.BytesIO(content))
            if number == 1:
                extra = tarfile.TarInfo(member.name.replace(".json", ".pyd"))
                extra.size = len(bomb)
                shard.addfile(extra, io.BytesIO(bomb))
    content = buffer.getvalue()
    path.write_bytes(content)
    manifest = path.parents[2] / "manifest.json"
    rows = json.loads(manifest.read_text())
    for entry in rows["shards"]:
        if entry["name"] == row.name:
            entry["bytes"] = len(content)
    manifest.write_text(json.dumps(rows))
    with pytest.raises(ContractError, match="not one image and its JSON"):
        _read(path, row)
    assert not canary.exists()


def test_leaving_early_closes_the_shard(collection):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        samples = iter(webdataset_pipeline(collection))
        next(samples)
        samples.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_the_library_the_answer_is_the_extra(collection, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(EnvironmentError_, match=r"mermed\[webdataset\]"):
        webdataset_pipeline(collection)
