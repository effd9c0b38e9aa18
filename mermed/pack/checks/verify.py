"""Verify: a whole collection against its manifest. Every problem is found and named by shard and key, not the first."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mermed.contract import EncodedSample, Manifest, SampleMeta, ShardRow, load_manifest
from mermed.errors import ContractError, IntegrityError, MermedError
from mermed.pack.collection.shard_file import ShardFile
from mermed.pack.pixels.encode import decode_image
from mermed.tar import REINDEX, Span, check_headers, check_index, read_sample, scan

REPACK = "copy the shard again, or pack its source again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: in which shard, at which key ("" when it concerns the whole shard), and what."""

    shard: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.shard} {self.key}: {self.what}" if self.key else f"{self.shard}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked, and everything that is wrong with it."""

    num_shards: int
    num_samples: int
    problems: tuple[Problem, ...]

    def raise_if_broken(self) -> None:
        """Raise IntegrityError that names every problem, or return when there is none."""
        if self.problems:
            raise IntegrityError(
                f"the collection has {len(self.problems)} problems\n" + "\n".join(f"  {p}" for p in self.problems),
                next_step=REPACK,
            )


@dataclass(frozen=True, slots=True)
class _ShardReport:
    """What one shard holds and what is wrong in it; the keys and groups wait for the comparison across shards."""

    keys: list[str]
    groups: dict[str, str]
    problems: list[Problem]


def verify(
    folder: Path, *, num_workers: int = 1, watch: Callable[[int, int], None] = lambda n, total: None
) -> Verification:
    """Check every byte of a collection: sizes, sha256, indices, headers, seals, images, keys and groups.

    Raises ContractError when there is no readable manifest; everything else comes back as problems. `watch` is called
    with (shards done, shards) after every shard. Threads suffice: hashing and decoding release the interpreter's lock.
    """
    manifest = load_manifest(folder)
    problems = [*check_totals(manifest), *check_strays(folder, manifest)]
    reports: list[_ShardReport] = []
    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        for report in pool.map(lambda row: _check_shard(folder, row, manifest), manifest.shards):
            reports.append(report)
            problems += report.problems
            watch(len(reports), len(manifest.shards))
    problems += _check_across(manifest.shards, reports)
    return Verification(
        num_shards=len(reports), num_samples=sum(len(r.keys) for r in reports), problems=tuple(problems)
    )


def check_totals(manifest: Manifest) -> Iterator[Problem]:
    """What does not add up in a manifest by itself."""
    totals = manifest.totals
    samples = sum(row.samples for row in manifest.shards)
    if totals.get("packed") != samples:
        yield Problem(shard="manifest.json", key="", what=f"counts {totals.get('packed')} samples, its rows {samples}")
    names = ("packed", "duplicates", "excluded", "quarantined")
    if totals.get("inputs") != sum(totals.get(name, 0) for name in names):
        yield Problem(shard="manifest.json", key="", what="its totals do not add up to the inputs")
    for name, count in Counter(row.name for row in manifest.shards).items():
        if count > 1:
            yield Problem(shard=name, key="", what=f"has {count} rows in the manifest")


def check_strays(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    """Shards without a row: they are no part of the collection, but readers that list files would take them in."""
    known = {row.name for row in manifest.shards}
    for path in sorted(folder.rglob("*.tar")):
        name = path.relative_to(folder).as_posix()
        if name not in known and not path.name.startswith("."):
            yield Problem(shard=name, key="", what="has no row in the manifest")


def _check_shard(folder: Path, row: ShardRow, manifest: Manifest) -> _ShardReport:
    report = _ShardReport([], {}, [])

    def note(error: MermedError) -> None:
        key = str(error.where.get("key") or error.where.get("after key") or "")
        behind = "after this key, " if "after key" in error.where and "key" not in error.where else ""
        step = f"; {error.next_step}" if error.next_step == REINDEX else ""
        report.problems.append(Problem(shard=row.name, key=key, what=behind + error.reason() + step))

    path = folder / row.name
    if not path.is_file():
        note(IntegrityError("the shard is missing"))
        return report
    with ShardFile(path) as file:
        if file.size != row.bytes:
            note(IntegrityError("the shard has another size", expected=f"{row.bytes} bytes", found=file.size))
        for span in _spans(file, path, row, note):
            try:
                check_headers(file.read_at, span, row.name)
                sample = read_sample(file.read_at, span, row.name)
                report.keys.append(span.key)
                _check_sample(sample, row, manifest, report.groups)
            except MermedError as error:
                error.add_place(key=span.key)
                note(error)
        if file.sha256() != row.sha256:
            note(IntegrityError("the shard's sha256 is not that of its row"))
    return report


def _spans(file: ShardFile, path: Path, row: ShardRow, note: Callable[[MermedError], None]) -> list[Span]:
    """The samples of a shard as its headers say, or as its index says where the headers are damaged."""
    by_header = by_index = None
    try:
        by_header = scan(file.read_at, file.size, row.name)
    except MermedError as error:
        note(error)
    try:
        by_index = check_index(path.with_suffix(".idx").read_text("ascii", errors="replace"), row)
    except FileNotFoundError:
        note(IntegrityError("the index is missing", next_step=REINDEX))
    except MermedError as error:
        note(error)
    if by_header is not None and by_index is not None and by_header != by_index:
        note(IntegrityError("the index does not describe this shard", next_step=REINDEX))
    if by_header is not None and len(by_header) != row.samples:
        note(IntegrityError("the shard holds another number of samples", expected=row.samples, found=len(by_header)))
    return (by_header if by_header is not None else by_index) or []


def _check_sample(sample: EncodedSample, row: ShardRow, manifest: Manifest, groups: dict[str, str]) -> None:
    """Raise for a sample that does not fit its shard, its image or its label space."""
    meta = sample.meta
    if (meta.modality, meta.dataset, meta.split) != (row.modality, row.dataset, row.split):
        raise ContractError("a sample belongs to another shard", expected=row.source, found=_source(meta))
    groups[f"{meta.modality}/{meta.dataset}/{meta.group}"] = meta.split
    image = decode_image(sample.image, sample.extension)
    if image.size != (meta.width, meta.height):
        raise ContractError(
            "an image has another size than its JSON says", expected=f"{meta.width} x {meta.height}", found=image.size
        )
    label = meta.labels.get("class")
    space = manifest.labels.get(f"{meta.modality}/{meta.dataset}", {})
    if label is not None and label not in space.get("classes", ()):
        raise ContractError("a label is not in the label space of its dataset")


def _source(meta: SampleMeta) -> str:
    return f"{meta.modality}/{meta.dataset}/{meta.split}"


def _check_across(rows: tuple[ShardRow, ...], reports: list[_ShardReport]) -> Iterator[Problem]:
    """Keys that occur in two shards, and groups that occur in two splits."""
    shard_of: dict[str, str] = {}
    split_of: dict[str, tuple[str, str]] = {}
    for row, report in zip(rows, reports, strict=True):
        for key in report.keys:
            first = shard_of.setdefault(key, row.name)
            if first != row.name:
                yield Problem(shard=row.name, key=key, what=f"the key occurs in {first} too")
        for group, split in report.groups.items():
            first_split, first_shard = split_of.setdefault(group, (split, row.name))
            if first_split != split:
                what = f"the group {group.rsplit('/', 1)[1]} is in {first_split} too ({first_shard})"
                yield Problem(shard=row.name, key="", what=what)
