"""The contact sheet: images with the crop boxes of their views, every view, and the parameters it was made with.

Where several engines made the views, those of the others stand below the reference's, each with its difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from mermed.augment.difference import AMPLIFIED, Difference, difference, difference_picture
from mermed.augment.extra import Extra
from mermed.augment.geometry import view_corners
from mermed.augment.view_texts import parameter_texts, view_names

MAX_SIDE_PX = 60_000
"""No side of a sheet may be longer: few programs show more."""
_MARGIN_PX = 12
_CANVAS_PX = 360
_VIEW_PX = 150
_LINE_PX = 15
_TEXT_PX = 12
_TITLE_PX = 18
_HEAD_PX = 2 * _MARGIN_PX + _TITLE_PX
_PAPER, _INK, _FAINT = "#ffffff", "#1a1a1a", "#666666"
_COLOURS = (
    "#d62728 #ff7f0e #1f77b4 #2ca02c #9467bd #17becf #e377c2 #bcbd22 #8c564b #00a0a0 #5a5aff #c0a000 #606060 #00c853"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedImage:
    """One image and its views by every engine, the reference first; canvas and views in grey levels [0, 255]."""

    modality: str
    slot: int
    key: str
    canvas: UInt8[np.ndarray, "3 height width"]
    draws: Float32[np.ndarray, "views fields"]
    num_global: int
    views: Mapping[str, Sequence[Float32[np.ndarray, "3 _ _"]]]
    extras: Sequence[Extra] = ()

    @property
    def names(self) -> list[str]:
        """The names of the views."""
        return view_names(self.num_global, len(self.draws))

    @property
    def reference(self) -> str:
        """The engine that the others are measured against."""
        return next(iter(self.views))

    def differences(self) -> dict[str, list[Difference]]:
        """How far each view of every other engine is from the reference's."""
        reference, *others = self.views
        return {
            engine: [difference(*pair) for pair in zip(self.views[engine], self.views[reference], strict=True)]
            for engine in others
        }


@dataclass(frozen=True, slots=True)
class _Picture:
    """What stands in a view's column: pixels and the lines below them, of which the first may be in ink."""

    image: Image.Image
    lines: Sequence[str]
    is_headed: bool = False

    @property
    def height_px(self) -> int:
        return _VIEW_PX + _LINE_PX * len(self.lines) + _MARGIN_PX


def contact_sheet(images: Sequence[ViewedImage], title: str) -> Image.Image:
    """One panel per image below the title.

    The frame of a view and its box on the canvas have one colour; G are global views, L local ones.
    """
    panels = [_panel(image) for image in images]
    width = max(panel.width for panel in panels)
    sheet = Image.new("RGB", (width, _HEAD_PX + sum(panel.height + _MARGIN_PX for panel in panels)), _PAPER)
    ImageDraw.Draw(sheet).text((_MARGIN_PX, _MARGIN_PX), title, _INK, _font(_TITLE_PX))
    top_px = _HEAD_PX
    for panel in panels:
        sheet.paste(panel, (0, top_px))
        top_px += panel.height + _MARGIN_PX
    return sheet


def difference_texts(images: Sequence[ViewedImage]) -> list[str]:
    """One line per engine that is not the reference: its mean difference, and where its 99.9th percentile is worst."""
    texts: list[str] = []
    found = [image.differences() for image in images]
    for engine in found[0]:
        means = [apart.mean for of_image in found for apart in of_image[engine]]
        worst, where = max(
            (apart.p99_9, f"{image.modality} slot {image.slot} {name}")
            for image, of_image in zip(images, found, strict=True)
            for name, apart in zip(image.names, of_image[engine], strict=True)
        )
        mean = sum(means) / len(means)
        texts.append(f"{engine} against {images[0].reference}: mean {mean:.2f}, p99.9 <= {worst:.1f} ({where})")
    return texts


def _panel(image: ViewedImage) -> Image.Image:
    """The canvas at the left, the views in two rows beside it."""
    apart = image.differences()
    stacks = [_stack(image, view, apart) for view in range(len(image.draws))]
    columns = -(-len(stacks) // 2)
    # The pictures of one row stand side by side, however many lines the captions above them take.
    heights = [max(stack[depth].height_px for stack in stacks) for depth in range(len(stacks[0]))]
    top_px, left_px = _LINE_PX + _MARGIN_PX, 2 * _MARGIN_PX + _CANVAS_PX
    size = left_px + columns * (_VIEW_PX + _MARGIN_PX), top_px + max(_CANVAS_PX, 2 * sum(heights))
    panel = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(panel)
    height, width = image.canvas.shape[1:]
    heading = f"{image.modality}   slot {image.slot}   {width} x {height} px"
    pen.text((_MARGIN_PX, 0), heading, _INK, _font(_TEXT_PX + 2))
    panel.paste(_boxed(_picture(image.canvas), image.draws, image.names), (_MARGIN_PX, top_px))
    for line, text in enumerate(difference_texts([image])):
        pen.text((_MARGIN_PX, top_px + _CANVAS_PX + _MARGIN_PX + line * _LINE_PX), text, _INK, _font(_TEXT_PX))
    for place, stack in enumerate(stacks):
        x, y = left_px + place % columns * (_VIEW_PX + _MARGIN_PX), top_px + place // columns * sum(heights)
        for picture, height_px in zip(stack, heights, strict=True):
            _draw(panel, pen, picture, (x, y), _colour(place))
            y += height_px
    return panel


def _stack(image: ViewedImage, view: int, apart: Mapping[str, Sequence[Difference]]) -> list[_Picture]:
    """The reference's picture of a view, and of every other engine its picture and the difference."""
    reference = image.views[image.reference][view]
    area, size, *changes = parameter_texts(image.draws[view], image.extras)
    caption = [f"{image.names[view]}  {area}  {size}", *_wrap(changes)]
    stack = [_Picture(_picture(reference), [*caption, image.reference] if apart else caption, is_headed=True)]
    for engine, found in apart.items():
        told = [f"difference x {AMPLIFIED}", f"mean {found[view].mean:.2f}  p99.9 {found[view].p99_9:.1f}"]
        pixels = image.views[engine][view]
        stack += [_Picture(_picture(pixels), [engine]), _Picture(_picture(difference_picture(pixels, reference)), told)]
    return stack


def _draw(panel: Image.Image, pen: ImageDraw.ImageDraw, picture: _Picture, place: tuple[int, int], colour: str) -> None:
    x, y = place
    panel.paste(picture.image.resize((_VIEW_PX, _VIEW_PX), Image.Resampling.BICUBIC), place)
    pen.rectangle((x - 2, y - 2, x + _VIEW_PX + 1, y + _VIEW_PX + 1), outline=colour, width=2)
    for line, text in enumerate(picture.lines):
        ink = _INK if picture.is_headed and line == 0 else _FAINT
        pen.text((x, y + _VIEW_PX + 3 + line * _LINE_PX), text, ink, _font(_TEXT_PX))


def _boxed(canvas: Image.Image, rows: Float32[np.ndarray, "views fields"], names: Sequence[str]) -> Image.Image:
    """The canvas at a fixed size with the outline and name of every view; what reaches beyond it is cut off."""
    zoom = _CANVAS_PX / max(canvas.size)
    size = max(1, round(canvas.width * zoom)), max(1, round(canvas.height * zoom))
    boxed = canvas.resize(size, Image.Resampling.BICUBIC)
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


def _picture(levels: np.ndarray) -> Image.Image:
    """An image of [3, height, width] grey levels; what lies outside [0, 255] is clipped."""
    return Image.fromarray(np.moveaxis(levels.clip(0, 255).round().astype(np.uint8), 0, -1).copy())


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
