"""The contact sheet: per modality one canvas with its crop boxes, every view, and the parameters it was made with."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

from mermed.augment.draw import ORDERS, Field
from mermed.augment.geometry import view_corners
from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch, CropBatch

_MARGIN_PX = 12
_CANVAS_PX = 360
_VIEW_PX = 150
_LINE_PX = 15
_TEXT_PX = 12
_TITLE_PX = 18
_PAPER, _INK, _FAINT = "#ffffff", "#1a1a1a", "#666666"
_COLOURS = (
    "#d62728 #ff7f0e #1f77b4 #2ca02c #9467bd #17becf #e377c2 #bcbd22 #8c564b #00a0a0 #5a5aff #c0a000 #606060 #00c853"
).split()
_JITTERS = (
    ("bri", Field.BRIGHTNESS, "{:.2f}", 1.0),
    ("con", Field.CONTRAST, "{:.2f}", 1.0),
    ("sat", Field.SATURATION, "{:.2f}", 1.0),
    ("hue", Field.HUE, "{:+.3f}", 0.0),
)

Row = Float32[np.ndarray, " fields"]


def write_sheet(
    path: Path,
    canvases: CanvasBatch,
    draws: Float32[np.ndarray, "batch views fields"],
    crops: CropBatch,
    *,
    modalities: Sequence[str],
    normalisation: Normalisation,
    title: str,
) -> None:
    """Write a PNG with one row for each modality of the batch: its first image, all views, what was drawn for them.

    The frame of a view and its box on the canvas have one colour; G are global views, L local ones.
    """
    numbers: list[int] = canvases.modality.tolist()
    rows = [
        _sheet_row(numbers.index(number), modalities[number], canvases, draws, crops, normalisation)
        for number in sorted(set(numbers))
    ]
    top_px = 2 * _MARGIN_PX + _TITLE_PX
    sheet = Image.new(
        "RGB", (max(row.width for row in rows), top_px + sum(row.height + _MARGIN_PX for row in rows)), _PAPER
    )
    ImageDraw.Draw(sheet).text((_MARGIN_PX, _MARGIN_PX), title, _INK, _font(_TITLE_PX))
    for row in rows:
        sheet.paste(row, (0, top_px))
        top_px += row.height + _MARGIN_PX
    sheet.save(path, format="PNG")


def parameter_texts(row: Row) -> list[str]:
    """What a row of draws does, in words, in the order it is done; neutral parameters are left out."""
    area = row[Field.HEIGHT_PX] * row[Field.WIDTH_PX] / (row[Field.FRAME_HEIGHT_PX] * row[Field.FRAME_WIDTH_PX])
    texts = [f"{100 * area:.0f} %", f"{row[Field.WIDTH_PX]:.0f} x {row[Field.HEIGHT_PX]:.0f} px"]
    if row[Field.ANGLE_RAD]:
        texts.append(f"turn {math.degrees(row[Field.ANGLE_RAD]):+.0f}°")
    flips = "h" * int(row[Field.FLIP_H]) + "v" * int(row[Field.FLIP_V])
    if flips:
        texts.append(f"flip {flips}")
    if row[Field.QUARTER_TURNS]:
        texts.append(f"quarters {row[Field.QUARTER_TURNS]:.0f}")
    stain = row[Field.HED_SCALE_H : Field.HED_SCALE_D + 1]
    if (stain != 1).any():
        texts.append("stain " + " ".join(f"{factor:.2f}" for factor in stain))
    for place in ORDERS[int(row[Field.ORDER])]:
        name, field, shape, neutral = _JITTERS[place]
        if row[field] != neutral:
            texts.append(f"{name} " + shape.format(row[field]))
    if row[Field.GAMMA] != 1:
        texts.append(f"gamma {row[Field.GAMMA]:.2f}")
    texts += [name for name, field in (("invert", Field.INVERT), ("grey", Field.GRAYSCALE)) if row[field]]
    if row[Field.BLUR_SIGMA_PX]:
        texts.append(f"blur {row[Field.BLUR_SIGMA_PX]:.1f} px")
    return texts + ["solarise"] * int(row[Field.SOLARISE])


def _sheet_row(
    image: int,
    modality: str,
    canvases: CanvasBatch,
    draws: Float32[np.ndarray, "batch views fields"],
    crops: CropBatch,
    normalisation: Normalisation,
) -> Image.Image:
    number = int(canvases.modality[image])
    mean, std = normalisation.mean[number], normalisation.std[number]
    tensors = [*crops.global_crops[:, image], *crops.local_crops[:, image]]
    views = [_picture(tensor.float().cpu().numpy() * std[:, None, None] + mean[:, None, None]) for tensor in tensors]
    num_global, columns = len(crops.global_crops), -(-len(views) // 2)
    names = [f"G{v + 1}" if v < num_global else f"L{v - num_global + 1}" for v in range(len(views))]
    captions = [_wrap([name, *parameter_texts(row)]) for name, row in zip(names, draws[image], strict=True)]
    cell_px = _VIEW_PX + _LINE_PX * max(map(len, captions)) + _MARGIN_PX
    height_px = _LINE_PX + _MARGIN_PX + max(_CANVAS_PX, 2 * cell_px)
    left_px = 2 * _MARGIN_PX + _CANVAS_PX
    panel = Image.new("RGB", (left_px + columns * (_VIEW_PX + _MARGIN_PX), height_px), _PAPER)
    pen = ImageDraw.Draw(panel)
    height, width = canvases.size_px[image].tolist()
    heading = f"{modality}   slot {canvases.slot[image]}   {width} x {height} px"
    pen.text((_MARGIN_PX, 0), heading, _INK, _font(_TEXT_PX + 2))
    canvas = canvases.pixels[image, :, :height, :width].cpu().numpy() / 255.0
    panel.paste(_boxed(_picture(canvas), draws[image], names), (_MARGIN_PX, _LINE_PX + _MARGIN_PX))
    for place, (view, caption) in enumerate(zip(views, captions, strict=True)):
        x, y = left_px + place % columns * (_VIEW_PX + _MARGIN_PX), _LINE_PX + _MARGIN_PX + place // columns * cell_px
        panel.paste(view.resize((_VIEW_PX, _VIEW_PX), Image.Resampling.BICUBIC), (x, y))
        pen.rectangle((x - 2, y - 2, x + _VIEW_PX + 1, y + _VIEW_PX + 1), outline=_colour(place), width=2)
        for line, text in enumerate(caption):
            pen.text((x, y + _VIEW_PX + 3 + line * _LINE_PX), text, _FAINT if line else _INK, _font(_TEXT_PX))
    return panel


def _boxed(canvas: Image.Image, rows: Float32[np.ndarray, "views fields"], names: Sequence[str]) -> Image.Image:
    """The canvas at a fixed size with the outline and name of every view; what reaches beyond it is cut off."""
    zoom = _CANVAS_PX / max(canvas.size)
    boxed = canvas.resize((round(canvas.width * zoom), round(canvas.height * zoom)), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(boxed)
    for place, corners in enumerate(view_corners(rows) * zoom):
        points = [(float(x), float(y)) for x, y in corners]
        pen.line([*points, points[0]], fill=_colour(place), width=2)
        tag = _font(_TEXT_PX).getbbox(names[place])
        x = min(max(points[0][0], 0), boxed.width - tag[2] - 4)
        y = min(max(points[0][1], 0), boxed.height - tag[3] - 4)
        pen.rectangle((x, y, x + tag[2] + 3, y + tag[3] + 2), fill=_colour(place))
        pen.text((x + 2, y), names[place], _PAPER, _font(_TEXT_PX))
    return boxed


def _picture(values: np.ndarray) -> Image.Image:
    """An image of [3, height, width] values in [0, 1]; what lies outside is clipped."""
    return Image.fromarray((values.clip(0.0, 1.0) * 255.0).round().astype(np.uint8).transpose(1, 2, 0))


def _wrap(texts: Sequence[str]) -> list[str]:
    """Lay texts out in lines no wider than a view."""
    lines: list[str] = []
    for text in texts:
        joined = f"{lines[-1]}  {text}" if lines else text
        if lines and _font(_TEXT_PX).getlength(joined) <= _VIEW_PX:
            lines[-1] = joined
        else:
            lines.append(text)
    return lines


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
