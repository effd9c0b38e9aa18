"""Our shards as a `webdataset` pipeline, for those who have one: its stages and grouping, our opening and checks."""

import importlib
import io
import json
import tarfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mermed import keyed, tar
from mermed.contract import IMAGE_EXTENSIONS, META_EXTENSION, SampleMeta, ShardRow
from mermed.errors import ConfigError, ContractError, IntegrityError, MermedError, missing_extra
from mermed.stream.store import Store, check_size, open_manifest, open_store

if TYPE_CHECKING:
    from webdataset.compat import FluidWrapper

Sample = dict[str, Any]
_READ_AHEAD_BYTES = 2**20


def webdataset_pipeline(
    location: str | Path,
    *,
    splits: tuple[str, ...] = ("train",),
    modalities: tuple[str, ...] = (),
    seed: int | None = None,
    epoch: int = 0,
    decode: bool = False,
    patience_s: float = 0.0,
) -> "FluidWrapper":
    """One pass over the samples of `splits` as webdataset gives them: dicts of `__key__`, `__url__`, jpg or png, json.

    Shards come from the manifest, so an unfinished one is never met; `modalities` keeps some, `seed` and `epoch`
    shuffle them. They are dealt to ranks, then to DataLoader workers, by webdataset's own splitters. The result goes
    on fluently: `.shuffle(1000).map(f).batched(64)`. With `decode` the image is a uint8 RGB tensor [3 height width]
    under `image` and `json` a dict; without it all members are bytes.

    webdataset's `enforce_security` is switched on for the process, its URLs, shells and unpickling decoders are never
    reached: shards are opened by our store and only ours are let in. Each sample's seal and each shard's count is
    checked, since tar readers end quietly at a damaged header. Raises ConfigError when a rank or worker would get no
    shard, IntegrityError and ContractError naming shard and key, EnvironmentError_ without the extra `webdataset`.
    """
    webdataset = _secured_webdataset()
    manifest = open_manifest(location, patience_s)
    rows = [row for row in manifest.shards if row.split in splits and row.samples]
    absent = sorted(set(modalities) - {row.modality for row in rows})
    if absent:
        raise ConfigError(
            "the collection has no such modality in these splits",
            expected=" ".join(sorted({row.modality for row in rows})),
            found=" ".join(absent),
        )
    rows = [row for row in rows if not modalities or row.modality in modalities]
    if seed is not None:
        order = keyed.permute(np.arange(len(rows)), len(rows), keyed.key("webdataset", seed, epoch))
        rows = [rows[number] for number in order]
    read = _ShardReader(str(location), rows, patience_s)
    stages = [webdataset.split_by_node, webdataset.split_by_worker, read]
    pipeline = webdataset.FluidWrapper(_ShardList(rows)).compose(*stages)
    return pipeline.map(decoded) if decode else pipeline


def decoded(sample: Sample) -> Sample:
    """The sample with its image as a uint8 RGB tensor under `image` and its JSON as a dict; nothing else is decoded."""
    import torch

    from mermed.stream.image import decode_rgb

    extension = next(name for name in IMAGE_EXTENSIONS if name in sample)
    meta = SampleMeta.decode(sample[META_EXTENSION], sample[extension])
    kept = {name: value for name, value in sample.items() if name.startswith("__")}
    pixels = torch.from_numpy(decode_rgb(sample[extension], meta)).permute(2, 0, 1)
    return kept | {"image": pixels, "json": json.loads(sample[META_EXTENSION])}


def _secured_webdataset() -> Any:
    """The library, with its switch against shells, local paths from data and unpickling turned on."""
    try:
        webdataset: Any = importlib.import_module("webdataset")
    except ImportError:
        raise missing_extra("webdataset", "the webdataset view of a collection") from None
    webdataset.utils.enforce_security = True
    return webdataset


class _ShardList:
    """The first stage: the names of the shards, once there are enough for every rank and worker."""

    def __init__(self, rows: Iterable[ShardRow]) -> None:
        self._names = [row.name for row in rows]

    def __call__(self) -> Iterator[Sample]:
        _, ranks, _, workers = _secured_webdataset().utils.pytorch_worker_info()
        if len(self._names) < ranks * workers:
            raise ConfigError(
                "some rank or worker would get no shard, and wait for ever or end early",
                expected=f"{ranks * workers} shards at least ({ranks} ranks x {workers} workers)",
                found=len(self._names),
                next_step="use fewer workers, or MermedDataset, which shares out samples instead of shards",
            )
        return iter([{"url": name} for name in self._names])


class _ShardReader:
    """The stage that turns names of shards into checked samples. It holds no open file: spawned workers get it too."""

    def __init__(self, location: str, rows: Iterable[ShardRow], patience_s: float) -> None:
        self._location = location
        self._rows = {row.name: row for row in rows}
        self._patience_s = patience_s

    def __call__(self, shards: Iterable[Mapping[str, Any]]) -> Generator[Sample]:
        webdataset = _secured_webdataset()
        with closing(open_store(self._location, patience_s=self._patience_s)) as store:
            for shard in shards:
                yield from self._read(webdataset, store, self._rows[shard["url"]])

    def _read(self, webdataset: Any, store: Store, row: ShardRow) -> Generator[Sample]:
        """The samples of one shard, grouped by webdataset and counted by us."""
        check_size(store, row)
        count = 0
        with io.BufferedReader(_ShardFile(store, row), _READ_AHEAD_BYTES) as stream:
            tar.parse_header(stream.peek(tar.BLOCK_BYTES)[: tar.BLOCK_BYTES], 0, row.name)
            source = iter([{"url": row.name, "stream": stream}])
            grouped = webdataset.tariterators.group_by_keys(webdataset.tariterators.tar_file_expander(source))
            try:
                for sample in grouped:
                    _check_sample(sample, row)
                    yield sample
                    count += 1
            except tarfile.TarError as error:
                raise IntegrityError("a shard is no whole tar", where={"shard": row.name}, found=str(error)) from None
        if count != row.samples:
            raise IntegrityError(
                "a shard gave fewer samples than its manifest row says, and no error",
                where={"shard": row.name},
                expected=row.samples,
                found=count,
                next_step="copy the shard again; mermed-shard verify lists every damaged one",
            )


def _check_sample(sample: Sample, row: ShardRow) -> None:
    """Let in what the contract lets in: one image, one JSON whose seal covers both, the key of the JSON."""
    where = {"shard": row.name, "key": sample["__key__"]}
    members = {name for name in sample if not name.startswith("__")}
    images = members & set(IMAGE_EXTENSIONS)
    if len(images) != 1 or members != images | {META_EXTENSION}:
        raise ContractError("a sample is not one image and its JSON", where=where, found=f"{len(members)} members")
    try:
        meta = SampleMeta.decode(sample[META_EXTENSION], sample[images.pop()])
        if meta.key != sample["__key__"]:
            raise IntegrityError("a sample's JSON names another key")
    except MermedError as error:
        error.add_place(**where)
        raise


class _ShardFile(io.RawIOBase):
    """One shard of a store as a file that is read from front to back."""

    def __init__(self, store: Store, row: ShardRow) -> None:
        super().__init__()
        self._store = store
        self._row = row
        self._offset = 0

    def readable(self) -> bool:
        """True: this is what it is for."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from where the last read ended; 0 at the end of the shard."""
        wanted = min(len(buffer), self._row.bytes - self._offset)
        content = self._store.read_at(self._row.name, self._offset, wanted) if wanted else b""
        buffer[: len(content)] = content
        self._offset += len(content)
        return len(content)
