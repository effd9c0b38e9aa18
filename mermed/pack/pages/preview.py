"""Preview: a contact sheet of packed samples: some of every dataset and split, with what is known of each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mermed.contract import ShardRow, load_manifest
from mermed.errors import ConfigError
from mermed.pack.pages.report_data import caption
from mermed.pack.pages.show import FoundSample, read_index, read_one
from mermed.tar import check_index

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
TILE_PX, GAP_PX, LINE_PX, HEAD_PX = 160, 10, 14, 26
MAX_SHEET_PX = 60_000
_CAPTION_LINES, _KEY_LINES = 3, 2
_PAPER, _INK, _SOFT = (24, 27, 33), (228, 232, 238), (154, 163, 177)


@dataclass(frozen=True, slots=True)
class Strip:
    """Samples of one source: modality/dataset/split."""

    source: str
    num_samples: int
    samples: tuple[FoundSample, ...]


def choose_samples(folder: Path, *, modality: str | None = None, per_source: int = 8) -> list[Strip]:
    """The first samples of every source; shards are in hashed order, so these are a random choice, and always the same.

    Raises ConfigError for a modality that the collection lacks, IntegrityError for changed bytes.
    """
    manifest = load_manifest(folder)
    if modality is not None and modality not in manifest.modalities:
        raise ConfigError("no such modality", expected=" | ".join(manifest.modalities), found=modality)
    by_source: defaultdict[str, list[ShardRow]] = defaultdict(list)
    for row in manifest.shards:
        if modality in (None, row.modality):
            by_source[row.source].append(row)
    return [
        Strip(source, sum(row.samples for row in rows), tuple(_first(folder, rows, per_source)))
        for source, rows in sorted(by_source.items())
    ]


def _first(folder: Path, rows: Sequence[ShardRow], count: int) -> list[FoundSample]:
    found: list[FoundSample] = []
    for row in rows:
        if len(found) >= count:
            break
        spans = check_index(read_index(folder, row), row)[: count - len(found)]
        found += [FoundSample(row.name, read_one(folder, row, span)) for span in spans]
    return found


def make_sheet(strips: Sequence[Strip]) -> Image.Image:
    """The contact sheet: a row of tiles per source, each with its caption and its key.

    Raises ConfigError when the sheet would be too large for an image.
    """
    columns = max((len(strip.samples) for strip in strips), default=0)
    caption_px = (_CAPTION_LINES + _KEY_LINES) * LINE_PX
    row_px = HEAD_PX + TILE_PX + caption_px + GAP_PX
    width = max(columns, 3) * (TILE_PX + GAP_PX) + GAP_PX
    height = len(strips) * row_px + GAP_PX
    if max(width, height) > MAX_SHEET_PX:
        raise ConfigError(
            "the sheet would be too large",
            expected=f"{MAX_SHEET_PX} pixels a side at most",
            found=f"{width} x {height}",
            next_step="choose a --modality, or a smaller --per-source",
        )
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    fonts = ImageFont.load_default(15), ImageFont.load_default(11)
    for number, strip in enumerate(strips):
        top = GAP_PX + number * row_px
        title = f"{strip.source}   {strip.num_samples:,} samples"
        draw.text((GAP_PX, top), title, fill=_INK, font=fonts[0])
        for column, found in enumerate(strip.samples):
            left = GAP_PX + column * (TILE_PX + GAP_PX)
            _draw_tile(sheet, draw, found, (left, top + HEAD_PX), fonts[1])
    return sheet


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    found: FoundSample,
    place: tuple[int, int],
    font: _Font,
) -> None:
    left, top = place
    picture = _fit(found.picture())
    draw.rectangle((left, top, left + TILE_PX - 1, top + TILE_PX - 1), fill=(0, 0, 0))
    sheet.paste(picture, (left + (TILE_PX - picture.width) // 2, top + (TILE_PX - picture.height) // 2))
    meta = found.sample.meta
    # The font that comes with Pillow knows no multiplication sign.
    lines = [(line, _INK) for line in _wrap(caption(meta).replace("×", "x"), draw, font, _CAPTION_LINES)]
    dataset, dash, digits = meta.key.rpartition("-")
    lines += [(_shorten(part, draw, font), _SOFT) for part in (dataset + dash, digits) if part]
    for number, (line, ink) in enumerate(lines):
        draw.text((left, top + TILE_PX + 2 + number * LINE_PX), line, fill=ink, font=font)


def _fit(picture: Image.Image) -> Image.Image:
    """Reduced to a tile, or enlarged by a whole number, so that pixels of small pictures are seen as they are."""
    factor = TILE_PX // max(picture.size)
    if factor > 1:
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((TILE_PX, TILE_PX), Image.Resampling.BOX)
    return picture


def _wrap(text: str, draw: ImageDraw.ImageDraw, font: _Font, most: int) -> list[str]:
    """`text` in at most `most` lines as wide as a tile; a word that is wider is shortened."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font) <= TILE_PX:
            lines[-1] = longer
        else:
            lines.append(_shorten(word, draw, font))
    if len(lines) > most:
        lines = [*lines[: most - 1], _shorten(lines[most - 1] + "...", draw, font)]
    return lines


def _shorten(text: str, draw: ImageDraw.ImageDraw, font: _Font) -> str:
    """`text` with its middle left out where it is wider than a tile: the ends of a key tell it from others."""
    kept = text
    while draw.textlength(kept, font) > TILE_PX and len(text) > 4:
        text = text[: len(text) // 2] + text[len(text) // 2 + 1 :]
        kept = f"{text[: len(text) // 2]}...{text[len(text) // 2 :]}"
    return kept
