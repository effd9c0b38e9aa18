"""What a view should be: one row of draws applied to one image, slowly, with torchvision and Pillow as users do.

Geometry is done at the resolution of the image and then reduced: the crop is read off the (mirrored or blackened)
turned image pixel by pixel with a bicubic kernel (a = -0.5, as in the resize of torchvision and Pillow), flipped,
turned by quarters, and resized with antialiasing. Where nothing is turned the crop is a slice of the image.
"""

import math

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms.v2 import functional as reference

from mermed.augment.draw import ORDERS, Field
from mermed.augment.geometry import source_maps
from mermed.augment.stain import stain_maps

CUBIC = reference.InterpolationMode.BICUBIC


def torchvision_view(image, row, side_px):
    """The view [3, side, side] in [0, 255] of an image [3, height, width] and one row of draws; floats, no rounding."""
    view = geometry(np.asarray(image, np.float64), row, side_px)
    if row[Field.DEEP]:
        view = windowed(view, row)
    return colour(torch.from_numpy(view.clip(0, 255) / 255.0).float(), row, blur=True).numpy() * 255.0


def pillow_view(image, row, side_px):
    """The same with Pillow on 8 bits, rounding after each operation as the released code does; turns are bicubic."""
    pixels = Image.fromarray(np.ascontiguousarray(np.moveaxis(np.asarray(image), 0, -1)))
    view = _pillow_geometry(pixels, row, side_px)
    if _has_stain(row):
        values = torch.from_numpy(np.moveaxis(np.asarray(view, np.float32), -1, 0) / 255.0)
        view = Image.fromarray((_stain(values, row).numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0))
    for place in ORDERS[int(row[Field.ORDER])]:
        if place == 3 and row[Field.HUE]:
            view = reference.adjust_hue(view, float(row[Field.HUE]))
        elif place < 3:
            enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[place]
            factor = float(row[(Field.BRIGHTNESS, Field.CONTRAST, Field.SATURATION)[place]])
            view = enhance(view).enhance(factor) if factor != 1 else view
    if row[Field.GAMMA] != 1:
        view = reference.adjust_gamma(view, float(row[Field.GAMMA]))
    view = ImageOps.invert(view) if row[Field.INVERT] else view
    view = view.convert("L").convert("RGB") if row[Field.GRAYSCALE] else view
    if row[Field.BLUR_SIGMA_PX]:
        view = view.filter(ImageFilter.GaussianBlur(float(row[Field.BLUR_SIGMA_PX])))
    view = ImageOps.solarize(view, 128) if row[Field.SOLARISE] else view
    return np.moveaxis(np.asarray(view, np.float32), -1, 0)


def geometry(image, row, side_px):
    """Crop, turn, flip, quarter turns and antialiased resize of [channels, height, width], in the image's own units."""
    top, left, height, width = (int(row[field]) for field in range(Field.TOP_PX, Field.WIDTH_PX + 1))
    crop = image[:, top : top + height, left : left + width] if row[Field.ANGLE_RAD] == 0 else _turned(image, row)
    crop = crop[:, :, ::-1] if row[Field.FLIP_H] else crop
    crop = crop[:, ::-1] if row[Field.FLIP_V] else crop
    crop = np.rot90(crop, int(row[Field.QUARTER_TURNS]), axes=(1, 2))
    tensor = torch.from_numpy(crop.copy()).float()
    return reference.resize(tensor, [side_px, side_px], CUBIC, antialias=True).double().numpy()


def windowed(view, row):
    """A view of 16-bit canvas channels (high byte, low byte, anything) in [0, 255] through the row's window."""
    share = (256.0 * view[0] + view[1]) / 65535.0
    low, high = float(row[Field.WINDOW_LOW]), float(row[Field.WINDOW_HIGH])
    return np.repeat(((share - low) / (high - low)).clip(0, 1)[None] * 255.0, 3, axis=0)


def colour(view, row, *, blur):
    """Stain, jitter in the row's order, gamma, inversion, grey, blur and solarisation of [3, side, side] in [0, 1]."""
    view = _stain(view, row) if _has_stain(row) else view
    jitters = (
        (reference.adjust_brightness, Field.BRIGHTNESS),
        (reference.adjust_contrast, Field.CONTRAST),
        (reference.adjust_saturation, Field.SATURATION),
        (reference.adjust_hue, Field.HUE),
    )
    for place in ORDERS[int(row[Field.ORDER])]:
        operation, field = jitters[place]
        view = operation(view, float(row[field]))
    view = reference.adjust_gamma(view, float(row[Field.GAMMA]))
    view = 1.0 - view if row[Field.INVERT] else view
    view = reference.rgb_to_grayscale(view, 3) if row[Field.GRAYSCALE] else view
    sigma = float(row[Field.BLUR_SIGMA_PX])
    if blur and sigma:
        reach = min(max(1, math.ceil(4 * sigma)), view.shape[-1] - 1)
        view = reference.gaussian_blur(view, [2 * reach + 1] * 2, [sigma] * 2)
    return reference.solarize(view, 0.5) if row[Field.SOLARISE] else view


def rim(row, side_px):
    """Pixels that see the edge between image and black; here it is a staircase of the image's pixels."""
    if not (row[Field.BLACK_CORNERS] and row[Field.ANGLE_RAD]):
        return np.zeros((side_px, side_px), bool)
    centre = (2 * np.arange(side_px) + 1) / side_px - 1
    b, a = np.meshgrid(centre, centre, indexing="ij")
    x, y = np.moveaxis(source_maps(row) @ np.stack([a.ravel(), b.ravel(), np.ones(a.size)]), 0, 0)
    # the antialiased kernel reaches two pixels of the image or of the view, whichever are larger
    reach = 2.0 * max(1.0, row[Field.HEIGHT_PX] / side_px, row[Field.WIDTH_PX] / side_px)
    width, height = row[Field.FRAME_WIDTH_PX], row[Field.FRAME_HEIGHT_PX]
    near = np.min(np.abs([x, x - width, y, y - height]), axis=0) < reach
    return near.reshape(side_px, side_px)


def _turned(image, row):
    """The crop at the image's resolution, its content turned by the row's angle."""
    height, width = int(row[Field.HEIGHT_PX]), int(row[Field.WIDTH_PX])
    # centres of the pixels of the crop as it is seen, about the pivot
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    y, x = y + float(row[Field.TOP_PX]), x + float(row[Field.LEFT_PX])
    if row[Field.BLACK_CORNERS]:
        pivot_y, pivot_x = float(row[Field.FRAME_HEIGHT_PX]) / 2, float(row[Field.FRAME_WIDTH_PX]) / 2
    else:
        pivot_y = float(row[Field.TOP_PX] + row[Field.HEIGHT_PX] / 2)
        pivot_x = float(row[Field.LEFT_PX] + row[Field.WIDTH_PX] / 2)
    cos, sin = math.cos(row[Field.ANGLE_RAD]), math.sin(row[Field.ANGLE_RAD])
    source_x = pivot_x + cos * (x - pivot_x) - sin * (y - pivot_y)
    source_y = pivot_y + sin * (x - pivot_x) + cos * (y - pivot_y)
    seen = _bicubic(image, source_y, source_x, mirrored=not row[Field.BLACK_CORNERS])
    # an 8-bit image has no values beyond these; the two bytes of a deep one must not be cut apart
    seen = seen if row[Field.DEEP] else seen.clip(0, 255)
    if row[Field.BLACK_CORNERS]:
        inside = (source_x >= 0) & (source_x <= image.shape[2]) & (source_y >= 0) & (source_y <= image.shape[1])
        seen = seen * inside
    return seen


def _bicubic(image, y, x, *, mirrored):
    """Values of `image` at the points (y, x), pixel centres at halves, a = -0.5; edges mirrored or repeated."""
    total = np.zeros((image.shape[0], *y.shape))
    base_y, base_x = np.floor(y - 0.5).astype(int), np.floor(x - 0.5).astype(int)
    for tap_y in range(-1, 3):
        weight_y = _cubic(y - 0.5 - (base_y + tap_y))
        rows = _edge(base_y + tap_y, image.shape[1], mirrored)
        for tap_x in range(-1, 3):
            weight = weight_y * _cubic(x - 0.5 - (base_x + tap_x))
            total += weight * image[:, rows, _edge(base_x + tap_x, image.shape[2], mirrored)]
    return total


def _edge(index, size, mirrored):
    if mirrored:
        index = index % (2 * size)
        return np.minimum(index, 2 * size - 1 - index)
    return index.clip(0, size - 1)


def _cubic(distance):
    d = np.abs(distance)
    near, far = (1.5 * d - 2.5) * d * d + 1.0, ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def _has_stain(row):
    scales, shifts = row[Field.HED_SCALE_H : Field.HED_SCALE_D + 1], row[Field.HED_SHIFT_H : Field.HED_SHIFT_D + 1]
    return bool((scales != 1).any() or (shifts != 0).any())


def _stain(view, row):
    maps = torch.from_numpy(stain_maps(row[None]))[0]
    density = view.clamp(min=1 / 255).log().neg()
    jittered = torch.einsum("ij,jhw->ihw", maps[:, :3], density) + maps[:, 3, None, None]
    return jittered.neg().exp().clamp(0, 1)


def _pillow_geometry(pixels, row, side_px):
    top, left, height, width = (float(row[field]) for field in range(Field.TOP_PX, Field.WIDTH_PX + 1))
    degrees = math.degrees(row[Field.ANGLE_RAD])
    if degrees and row[Field.BLACK_CORNERS]:
        pixels = pixels.rotate(degrees, Image.Resampling.BICUBIC)
    elif degrees:
        pad = max(pixels.size)
        values = np.pad(np.asarray(pixels), ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
        top, left = top + pad, left + pad
        centre = (left + width / 2, top + height / 2)
        pixels = Image.fromarray(values).rotate(degrees, Image.Resampling.BICUBIC, center=centre)
    crop = pixels.crop((int(left), int(top), int(left + width), int(top + height)))
    crop = ImageOps.mirror(crop) if row[Field.FLIP_H] else crop
    crop = ImageOps.flip(crop) if row[Field.FLIP_V] else crop
    crop = crop.rotate(90 * int(row[Field.QUARTER_TURNS]), expand=True)
    return crop.resize((side_px, side_px), Image.Resampling.BICUBIC)
