"""Shared by all tests: one small packed collection of phantoms, made once per session."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Raw phantoms of seven modalities, 14 images each, with the broken files among them."""
    from mermed.pack.phantoms.source import make_phantoms

    folder = tmp_path_factory.mktemp("phantoms")
    make_phantoms(folder, images_per_modality=14, seed=0)
    return folder


@pytest.fixture(scope="session")
def collection(phantoms, tmp_path_factory) -> Path:
    """The phantoms, packed. Tests must not change it: copy it first."""
    from click.testing import CliRunner

    from mermed.cli.shard import main

    out = tmp_path_factory.mktemp("collection") / "packed"
    command = ["pack", str(phantoms), "--out", str(out), "--salt-file", str(phantoms / "salt"), "--max-bad", "0.5"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images beside the checkout; tests that ask for it are skipped where there is none."""
    if not (REAL_DATA / "real").is_dir():
        pytest.skip("no real data beside this checkout")
    return REAL_DATA


@pytest.fixture
def build_collection(tmp_path):
    """Write a collection of given samples, without the packer: `build([(meta, PIL image, "jpg"), ...])` -> folder."""

    def build(samples, name="built"):
        from mermed.contract import MANIFEST_NAME, Manifest

        folder = tmp_path / name
        sources: dict[tuple[str, str, str], list] = {}
        for meta, image, extension in samples:
            sources.setdefault((meta.modality, meta.split, meta.dataset), []).append((meta, image, extension))
        numbers: dict[tuple[str, str], int] = {}
        rows = []
        for source, members in sorted(sources.items()):
            number = numbers.setdefault(source[:2], 0)
            numbers[source[:2]] += 1
            rows.append(_write_shard(folder, source, number, members))
        labels = {}
        for modality, split, dataset in sorted(sources):
            found = [meta.labels for meta, _, _ in sources[modality, split, dataset]]
            space = labels.setdefault(f"{modality}/{dataset}", {"kind": "multi-class", "classes": set()})
            space["classes"] |= {label["class"] for label in found if "class" in label}
            for label in found:
                if "findings" in label:
                    space |= {"kind": "multi-label", "findings": sorted(label["findings"])}
        for space in labels.values():
            if space["kind"] == "multi-label":
                del space["classes"]
            else:
                space["classes"] = sorted(space["classes"])
        totals = {"inputs": len(samples), "packed": len(samples), "duplicates": 0, "excluded": 0, "quarantined": 0}
        manifest = Manifest(shards=tuple(rows), labels=labels, totals=totals, tool={"mermed": "test"})
        (folder / MANIFEST_NAME).write_bytes(manifest.encode())
        return folder

    return build


def _write_shard(folder, source, number, members):
    """One shard and its index, as shards/README.md describes them, with nothing but tarfile."""
    import hashlib
    import io
    import tarfile

    from mermed.contract import ShardRow
    from mermed.tar import format_index, scan

    modality, split, dataset = source
    name = f"{modality}/{split}/{modality}-{split}-{number:06d}.tar"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for meta, image, extension in members:
            buffer = io.BytesIO()
            image.save(
                buffer, "JPEG" if extension == "jpg" else "PNG", **({"quality": 95} if extension == "jpg" else {})
            )
            encoded = buffer.getvalue()
            for suffix, content in ((extension, encoded), ("json", meta.encode(encoded))):
                header = tarfile.TarInfo(f"{meta.key}.{suffix}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    content = path.read_bytes()
    index = format_index(scan(lambda offset, size: content[offset : offset + size], len(content), name)).encode()
    path.with_suffix(".idx").write_bytes(index)
    return ShardRow(
        name=name,
        modality=modality,
        dataset=dataset,
        split=split,
        samples=len(members),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
