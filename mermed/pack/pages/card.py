"""Card: what a collection says about itself to others: README.md for the Hugging Face hub, and croissant.json.

Both are made of the manifest, the cards of the recipes and the indices alone, name no file of the source and no person,
and are the same bytes for equal collections.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mermed.contract import META_EXTENSION, SPLITS, Manifest, ShardRow
from mermed.pack.collection.writer import write_atomically
from mermed.pack.pages.croissant import NAME as CROISSANT_NAME
from mermed.pack.pages.croissant import SPLITS_NAME, SplitList, croissant

CARD_NAME = "README.md"
HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Our names of splits, and those that people of the hub expect."""
_HUB_LICENCES = (
    "apache-2.0", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "mit", "odbl", "pddl",
    "odc-by",
)  # fmt: skip
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGEST_SIZE = "10M<n<100M"
_NAMES = {
    "cfp": "colour fundus photographs", "ct": "CT slices", "cxr": "chest radiographs", "derm": "dermatoscopic images",
    "oct": "OCT slices", "path": "histopathology", "us": "ultrasound",
}  # fmt: skip


def write_card(manifest: Manifest, cards: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write README.md and croissant.json into the local collection `folder`. `cards` are those of its recipes."""
    splits = None
    if (folder / SPLITS_NAME).is_file():
        with (folder / SPLITS_NAME).open("rb") as file:
            splits = SplitList.of(file)
    files = card_files(manifest, cards, read=lambda name: (folder / name).read_bytes(), splits=splits)
    for name, content in files.items():
        write_atomically(folder / name, content)


def card_files(
    manifest: Manifest,
    cards: Mapping[str, Mapping[str, Any]],
    *,
    read: Callable[[str], bytes],
    splits: SplitList | None = None,
    licences: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """The two files by name, for a collection in any place; `read` gets the content of one of its indices.

    `cards` are [card] tables by dataset or modality/dataset; `licences`, by modality/dataset, are what the samples
    state, and count where no card has one.
    """
    sources = sorted({f"{row.modality}/{row.dataset}" for row in manifest.shards})
    known = {source: dict(cards.get(source) or cards.get(source.partition("/")[2], {})) for source in sources}
    for source, licence in (licences or {}).items():
        if source in known and not known[source].get("licence"):
            known[source]["licence"] = licence
    title = f"Medical images: {', '.join(manifest.modalities)}"
    description = _describe(manifest)
    front = _front_matter(manifest, known, title, read)
    text = _text(manifest, known, title, description)
    about = croissant(
        manifest,
        title=title,
        description=description,
        licences=_stated(known, "licence"),
        citations=_stated(known, "citation"),
        splits=splits,
    )
    readme = f"---\n{_yaml(front)}---\n\n{text}"
    return {CARD_NAME: readme.encode("utf-8", "backslashreplace"), CROISSANT_NAME: about}


def _stated(known: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    return sorted({str(card[name]) for card in known.values() if card.get(name)})


def _describe(manifest: Manifest) -> str:
    count = sum(row.samples for row in manifest.shards)
    names = ", ".join(_NAMES.get(modality, modality) for modality in manifest.modalities)
    return f"{count:,} medical images ({names}) as tar shards of canonical JPEG and PNG images with JSON metadata."


def _front_matter(
    manifest: Manifest, known: Mapping[str, Mapping[str, Any]], title: str, read: Callable[[str], bytes]
) -> dict[str, Any]:
    licences = _stated(known, "licence")
    hub = [licence.lower() for licence in licences if licence.lower() in _HUB_LICENCES]
    whole = len(hub) == len(licences) and all(card.get("licence") for card in known.values())
    size = next((name for limit, name in _SIZES if sum(row.samples for row in manifest.shards) < limit), _LARGEST_SIZE)
    by_modality: defaultdict[str, list[ShardRow]] = defaultdict(list)
    for row in manifest.shards:
        by_modality[row.modality].append(row)
    return {
        "pretty_name": title,
        "license": sorted(set(hub)) if whole and hub else ["other"],
        "task_categories": ["image-classification", "image-feature-extraction"],
        "tags": ["medical", "webdataset", *manifest.modalities],
        "size_categories": [size],
        "configs": [_config(modality, rows) for modality, rows in sorted(by_modality.items())],
        "dataset_info": [_info(modality, rows, manifest, read) for modality, rows in sorted(by_modality.items())],
    }


def _config(modality: str, rows: Sequence[ShardRow]) -> dict[str, Any]:
    present = [split for split in SPLITS if any(row.split == split for row in rows)]
    files = [{"split": HUB_SPLITS[split], "path": f"{modality}/{split}/{modality}-{split}-*.tar"} for split in present]
    return {"config_name": modality, "data_files": files}


def _info(modality: str, rows: Sequence[ShardRow], manifest: Manifest, read: Callable[[str], bytes]) -> dict[str, Any]:
    """Types of all fields: a loader that guesses them from the first samples fails at the first that differs."""
    features = [{"name": name, "dtype": "image"} for name in _extensions(rows, read)]
    features += [
        {"name": META_EXTENSION, "struct": _meta_types(modality, manifest.labels)},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]
    return {"config_name": modality, "features": features}


def _extensions(rows: Sequence[ShardRow], read: Callable[[str], bytes]) -> list[str]:
    """Extensions of the images in shards, as their indices say; the first column of a line."""
    found: set[str] = set()
    for row in rows:
        lines = read(row.index_name).split(b"\n")[1:]
        found.update({line[: line.find(b" ")].decode("ascii") for line in lines if line})
        if len(found) > 1:
            break
    return sorted(found)


def _meta_types(modality: str, labels: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    spaces = [space for source, space in labels.items() if source.startswith(f"{modality}/")]
    findings = sorted({name for space in spaces for name in space.get("findings", ())})
    label: list[dict[str, Any]] = [{"name": "class", "dtype": "string"}]
    if findings:
        label.append({"name": "findings", "struct": [{"name": name, "dtype": "int64"} for name in findings]})
    kinds = {
        "int64": ("height", "width", "source_bits", "frame"),
        "string": ("key", "modality", "dataset", "split", "group", "licence", "xxh3"),
    }
    types = [{"name": name, "dtype": kind} for kind, names in kinds.items() for name in names]
    lists = {"float64": ("spacing_mm", "window", "rescale"), "int64": ("crop",), "string": ("steps",)}
    types += [{"name": name, "list": kind} for kind, names in lists.items() for name in names]
    types.append({"name": "labels", "struct": label})
    return sorted(types, key=lambda entry: str(entry["name"]))


def _text(manifest: Manifest, known: Mapping[str, Mapping[str, Any]], title: str, description: str) -> str:
    modality = manifest.modalities[0]
    lines = [f"# {title}", "", description, ""]
    lines += [
        "A sample is an image and a JSON of an allow-list of fields; keys and groups are salted hashes. What shares a",
        "group (a patient, lesion or volume) is in one split. One configuration per modality:",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'data = load_dataset("path/to/this/folder", "{modality}", split="{_a_split(manifest, modality)}")',
        "```",
        "",
        "## Datasets",
        "",
        "| dataset | train | val | test | licence | access | may be passed on |",
        "|---|--:|--:|--:|---|---|---|",
    ]
    packed: Counter[tuple[str, str]] = Counter()
    for row in manifest.shards:
        packed[f"{row.modality}/{row.dataset}", row.split] += row.samples
    for source, card in known.items():
        counts = [packed[source, split] for split in SPLITS]
        allowed = {True: "yes", False: "no"}.get(card.get("redistribution", ""), "not stated")
        cells = [source, *(f"{count:,}" for count in counts), card.get("licence"), card.get("access"), allowed]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    citations = _stated(known, "citation")
    if citations:
        lines += ["", "## Citations", "", *(f"- {_cell(citation)}" for citation in citations)]
    flaws = [f"- {source}: {_cell(flaw)}" for source, card in known.items() for flaw in card.get("flaws", ())]
    if flaws:
        lines += ["", "## Known flaws", "", *flaws]
    return "\n".join([*lines, "", f"Collection {manifest.digest}", ""])


def _a_split(manifest: Manifest, modality: str) -> str:
    splits = {row.split for row in manifest.shards if row.modality == modality}
    return HUB_SPLITS[min(splits, key=SPLITS.index)]


def _cell(value: object) -> str:
    """Plain words in a cell of a table: nothing in it can end the cell, the line or become markup."""
    text = " ".join(str(value or "not stated").split())
    for mark in "\\|<>[]`*_":
        text = text.replace(mark, "\\" + mark)
    return text


def _yaml(value: object, indent: int = 0) -> str:
    """Nested dicts and lists in block style; leaves are JSON texts, which YAML reads as they are."""
    pad, out = " " * indent, ""
    entries = value.items() if isinstance(value, dict) else [("-", part) for part in value]  # type: ignore[attr-defined]
    for name, part in entries:
        head = f"{pad}-" if name == "-" else f"{pad}{name}:"
        if not isinstance(part, dict | list):
            out += f"{head} {json.dumps(part)}\n"
        elif name == "-":
            inner = _yaml(part, indent + 2)
            out += f"{head} {inner[indent + 2 :]}"
        else:
            out += f"{head}\n{_yaml(part, indent + 2)}"
    return out
