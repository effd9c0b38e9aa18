"""Verify, stats and index: every kind of damage ends in an error that names the shard and the key."""

import hashlib
import io
import json
import pickle
import shutil
import tarfile
from dataclasses import replace

import msgspec
import pytest

from mermed.contract import Manifest, SampleMeta, load_manifest
from mermed.errors import ContractError, IntegrityError
from mermed.pack.checks.reindex import reindex
from mermed.pack.checks.stats import check_stats, compute_stats
from mermed.pack.checks.verify import verify
from mermed.tar import check_index, check_shard, format_index, scan


@pytest.fixture
def damaged(collection, tmp_path):
    """A copy of the collection to break, a derm row with several samples, and that shard's spans."""
    folder = tmp_path / "copy"
    shutil.copytree(collection, folder)
    row = next(row for row in load_manifest(folder).shards if row.modality == "derm" and row.samples > 3)
    return folder, row, check_index((folder / row.index_name).read_text(), row)


def problems_in(folder):
    return [(p.shard, p.key, p.what) for p in verify(folder).problems]


def rewrite(folder, row, members):
    """Replace a shard by a tar of `members` (name, bytes), with index, row and totals that agree with it."""
    path = folder / row.name
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    content = path.read_bytes()
    try:
        index = format_index(scan(lambda o, n: content[o : o + n], len(content), row.name))
    except (ContractError, IntegrityError):
        index = (folder / row.index_name).read_text()
    (folder / row.index_name).write_text(index)
    fresh = replace(
        row,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        index_sha256=hashlib.sha256(index.encode()).hexdigest(),
    )
    manifest = load_manifest(folder)
    rows = tuple(fresh if other.name == row.name else other for other in manifest.shards)
    (folder / "manifest.json").write_bytes(replace(manifest, shards=rows).encode())
    return fresh


def members_of(folder, row):
    with tarfile.open(folder / row.name) as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar.getmembers()]


def test_an_untouched_collection_has_no_problem(collection):
    verification = verify(collection, num_workers=2)
    assert verification.problems == ()
    assert verification.num_samples == load_manifest(collection).totals["packed"]
    verification.raise_if_broken()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_shard_is_reported_wherever_it_is_cut(share, damaged):
    folder, row, spans = damaged
    size = int(row.bytes * share)
    with (folder / row.name).open("r+b") as file:
        file.truncate(size)
    found = problems_in(folder)
    assert {shard for shard, _, _ in found} == {row.name}
    lost = {span.key for span in spans if span.meta.offset + span.meta.size > size}
    assert lost <= {key for _, key, _ in found}
    with pytest.raises(IntegrityError, match=row.name):
        list(check_shard(folder / row.name, row))


@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
def test_a_cut_at_a_clean_member_boundary_is_reported(blocks, damaged):
    folder, row, spans = damaged
    with (folder / row.name).open("r+b") as file:
        file.truncate(spans[-blocks].image.offset - 512)
        file.seek(0, 2)
        file.write(bytes(1024))
    found = problems_in(folder)
    assert {span.key for span in spans[-blocks:]} <= {key for _, key, _ in found} or any(
        "number of" in w for *_, w in found
    )


@pytest.mark.parametrize("part", ["image", "meta"])
@pytest.mark.parametrize("where", ["header", "start", "middle", "end"])
def test_a_flipped_byte_is_reported_with_its_key(part, where, damaged):
    folder, row, spans = damaged
    member = getattr(spans[2], part)
    offset = {"header": -500, "start": 0, "middle": member.size // 2, "end": member.size - 1}[where]
    with (folder / row.name).open("r+b") as file:
        file.seek(member.offset + offset)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 4]))
    found = problems_in(folder)
    assert spans[2].key in {key for _, key, _ in found}
    assert {shard for shard, _, _ in found} == {row.name}


def test_several_damages_are_all_reported(damaged):
    folder, row, spans = damaged
    with (folder / row.name).open("r+b") as file:
        for span in (spans[0], spans[3]):
            file.seek(span.image.offset + 700)
            file.write(b"\xa5\x5a")
    other = next(r for r in load_manifest(folder).shards if r.modality == "oct")
    (folder / other.index_name).unlink()
    found = problems_in(folder)
    assert {spans[0].key, spans[3].key} <= {key for _, key, _ in found}
    assert (other.name, "") in {(shard, key) for shard, key, _ in found}
    with pytest.raises(IntegrityError) as caught:
        verify(folder).raise_if_broken()
    assert caught.value.exit_code == 4
    assert spans[3].key in str(caught.value)
    assert other.name in str(caught.value)


def test_a_stale_index_is_refused_and_can_be_rebuilt(damaged):
    folder, row, _ = damaged
    path = folder / row.index_name
    packed = path.read_text()
    lines = packed.splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert any("stale" in what and "mermed-shard index" in what for _, _, what in problems_in(folder))
    assert reindex(folder) == 1
    assert path.read_text() == packed
    path.unlink()
    assert reindex(folder) == 1
    assert reindex(folder) == 0
    assert problems_in(folder) == []


def test_an_index_is_never_rebuilt_for_changed_bytes(damaged):
    folder, row, spans = damaged
    (folder / row.index_name).unlink()
    with (folder / row.name).open("r+b") as file:
        file.seek(spans[0].image.offset)
        file.write(b"\0")
    with pytest.raises(IntegrityError, match="differs from its manifest row") as caught:
        reindex(folder)
    assert caught.value.where == {"shard": row.name}
    assert not (folder / row.index_name).exists()


@pytest.mark.parametrize("name", ["1.2.840.1.jpg", "../up.jpg", "/etc/x.jpg", "UP.JPG", "a.pkl", "a.jpg.pyd"])
def test_a_name_outside_the_contract_is_refused_unopened(name, damaged):
    folder, row, spans = damaged
    members = members_of(folder, row)
    row = rewrite(folder, row, [*members[:4], (name, pickle.dumps({"x": 1})), *members[4:]])
    found = problems_in(folder)
    assert any("breaks the contract" in what and key == spans[1].key for _, key, what in found)
    with pytest.raises(ContractError, match=spans[1].key):
        list(check_shard(folder / row.name, row))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_is_refused(kind, damaged):
    folder, row, _ = damaged
    with tarfile.open(folder / row.name, "w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    assert any("plain USTAR" in what for _, _, what in problems_in(folder))


def test_an_unreadable_image_is_reported_with_its_key(damaged):
    folder, row, spans = damaged
    members = members_of(folder, row)
    name, content = members[2]
    meta = SampleMeta.decode(members[3][1], content)
    members[2] = name, content[: len(content) // 2]
    members[3] = members[3][0], meta.encode(members[2][1])
    rewrite(folder, row, members)
    assert problems_in(folder) == [(row.name, spans[1].key, "an image member cannot be decoded")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 5}, "another size"),
        ({"split": "test"}, "belongs to another shard"),
        ({"labels": {"class": "made up"}}, "label space"),
        ({"key": "another-key"}, "names another key"),
    ],
)
def test_a_sample_that_says_something_else_is_reported_with_its_key(change, message, damaged):
    folder, row, spans = damaged
    members = members_of(folder, row)
    meta = msgspec.structs.replace(SampleMeta.decode(members[3][1], members[2][1]), **change)
    members[3] = members[3][0], meta.encode(members[2][1])
    rewrite(folder, row, members)
    ((shard, key, what),) = problems_in(folder)
    assert (shard, key) == (row.name, spans[1].key)
    assert message in what


def test_a_field_outside_the_allow_list_is_refused(damaged):
    import xxhash

    from mermed.contract import canonical_json

    folder, row, spans = damaged
    members = members_of(folder, row)
    content = msgspec.structs.asdict(SampleMeta.decode(members[3][1], members[2][1])) | {"patient_name": "x"}
    seal = xxhash.xxh3_64(members[2][1])
    seal.update(canonical_json(content))
    members[3] = members[3][0], canonical_json({**content, "xxh3": seal.hexdigest()})
    rewrite(folder, row, members)
    assert [(key, "allow-list" in what) for _, key, what in problems_in(folder)] == [(spans[1].key, True)]


def test_a_key_in_two_shards_and_a_group_in_two_splits_are_found(damaged):
    folder, row, spans = damaged
    members = members_of(folder, row)
    other = next(r for r in load_manifest(folder).shards if r.dataset == row.dataset and r.split != row.split)
    theirs = members_of(folder, other)
    meta = msgspec.structs.replace(SampleMeta.decode(members[1][1], members[0][1]), split=other.split)
    theirs[0], theirs[1] = members[0], (members[1][0], meta.encode(members[0][1]))
    rewrite(folder, other, theirs)
    found = problems_in(folder)
    assert any(key == spans[0].key and "occurs in" in what for _, key, what in found)
    assert any(f"the group {meta.group} is in" in what for _, _, what in found)


def test_a_missing_shard_a_stray_one_and_wrong_totals_are_found(damaged):
    folder, row, _ = damaged
    shutil.copy(folder / row.name, folder / "derm" / "train" / "derm-train-000009.tar")
    (folder / row.name).unlink()
    manifest = load_manifest(folder)
    (folder / "manifest.json").write_bytes(replace(manifest, totals={**manifest.totals, "packed": 3}).encode())
    found = {(shard, what) for shard, _, what in problems_in(folder)}
    assert (row.name, "the shard is missing") in found
    assert ("derm/train/derm-train-000009.tar", "has no row in the manifest") in found
    assert sum(shard == "manifest.json" for shard, _ in found) == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format_version": 2, "shards": []}', b'{"format_version": 1}']
)
def test_a_folder_without_a_readable_manifest_is_no_collection(content, tmp_path):
    with pytest.raises(ContractError, match="no packed collection"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ContractError):
        verify(tmp_path)


def test_stats_from_the_shards_are_those_of_the_pack_but_for_what_jpeg_changes(collection):
    manifest = load_manifest(collection)
    computed = compute_stats(collection, manifest)
    for modality, stated in manifest.stats.items():
        for name in ("mean", "std"):
            assert computed[modality][name] == pytest.approx(stated[name], abs=1e-3)
        assert computed[modality]["images"] == stated["images"]
    check_stats(computed, manifest)


def test_stats_equal_a_plain_average_over_training_images(collection):
    import numpy as np
    from PIL import Image

    manifest = load_manifest(collection)
    values = [
        np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB"), np.float64) / 255
        for row in manifest.shards
        if row.source == "cfp/cfp_phantoms/train"
        for sample in check_shard(collection / row.name, row)
    ]
    mean = np.mean([v.mean((0, 1)) for v in values], axis=0)
    second = np.mean([(v**2).mean((0, 1)) for v in values], axis=0)
    # The pack measures before its codec: JPEG of quality 95 moves a mean by less than a thousandth.
    np.testing.assert_allclose(manifest.stats["cfp"]["mean"], mean, atol=1e-3)
    np.testing.assert_allclose(manifest.stats["cfp"]["std"], np.sqrt(second - mean**2), atol=1e-3)
    assert manifest.stats["cfp"]["images"] == len(values)


def test_wrong_constants_in_a_manifest_are_found(collection):
    manifest = Manifest.decode((collection / "manifest.json").read_bytes())
    wrong = json.loads(json.dumps(manifest.stats))
    wrong["us"]["mean"][1] += 0.01
    with pytest.raises(IntegrityError, match="modality us"):
        check_stats(manifest.stats, replace(manifest, stats=wrong))
    with pytest.raises(IntegrityError, match="modality us"):
        check_stats({}, replace(manifest, stats={"us": wrong["us"]}))
