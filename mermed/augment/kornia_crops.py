"""The reference engine: canvases and draws to views with Kornia, in batches, on a CPU or a GPU.

A view is sampled twice. First its rotated, mirrored crop is read off the canvas on a grid of fixed side that no crop
exceeds, so that no pixel is skipped (bicubic; the views of one image are stacked along the height of one map, so the
canvas is never repeated). Then the grid is reduced to the side of the view with the antialiased bicubic kernel that
torchvision and Pillow use. Against one antialiased bicubic resize of the same crop this differs, over dermoscopy,
pathology, X-ray, ultrasound and fundus images, by 0.2-0.4 grey levels in the mean of a view (1.1 in the worst view),
where sampling the view straight off the canvas differs by 0.5-0.6 bilinear and 0.3-0.5 bicubic (1.9 in the worst).
Rotation is bicubic too: against Pillow's rotate-crop-resize it differs by 0.7-1.1, against the nearest-pixel rotation
of the released code, which leaves jagged edges, by 1.5-2.6.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Float32, Int32, UInt8
from kornia.geometry.transform import remap
from torch import Tensor

from mermed.augment.draw import Field, PolicyTable, neutral_views
from mermed.augment.extra import Extra
from mermed.augment.geometry import source_maps
from mermed.augment.kornia_colour import apply_colour, blur_reach
from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch, CropBatch

_TAPS_BEYOND = 2
"""Pixels a bicubic sample at the edge of the valid area reads beyond it."""


class KorniaCrops:
    """Turns canvases and draws into normalised views. Holds its constants on `device`; calls share no state.

    Nothing waits for the device: what depends on the draws is decided on the host.
    """

    def __init__(
        self,
        policies: PolicyTable,
        normalisation: Normalisation,
        *,
        global_px: int,
        local_px: int,
        num_global: int,
        canvas_px: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        extras: Sequence[Extra] = (),
    ) -> None:
        self._num_global = num_global
        self._sides_px = (global_px, local_px)
        self._grids_px = tuple(
            math.ceil(policies.largest_side(scale) * canvas_px) for scale in ("global_scale", "local_scale")
        )
        self._blur_reach_px = blur_reach(float(policies.column("blur_sigma_px")[:, 1].max()))
        self._mean, self._std = _constants(normalisation, device)
        self._device = device
        self._dtype = dtype
        self._extras = extras

    @torch.no_grad()
    def __call__(self, canvases: CanvasBatch, draws: Float32[np.ndarray, "batch views fields"]) -> CropBatch:
        """The views of `draws`, normalised, on this engine's device; global views come first in `draws`."""
        modality = canvases.modality.to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, enabled=False):
            image = canvas_image(canvases.pixels.to(self._device, non_blocking=True), _frame_px(draws))
            crops = [
                self._views(image, draws[:, views], side_px, grid_px, modality)
                for views, side_px, grid_px in zip(
                    (slice(None, self._num_global), slice(self._num_global, None)),
                    self._sides_px,
                    self._grids_px,
                    strict=True,
                )
            ]
        return CropBatch(global_crops=crops[0], local_crops=crops[1], modality=modality)

    def _views(
        self,
        image: Tensor,
        draws: Float32[np.ndarray, "batch views fields"],
        side_px: int,
        grid_px: int,
        modality: Tensor,
    ) -> Float[Tensor, "views batch 3 side side"]:
        batch, views = draws.shape[:2]
        if not views:
            return torch.empty((0, batch, 3, side_px, side_px), dtype=self._dtype, device=self._device)
        pixels = sample_views(image, draws, side_px=side_px, grid_px=grid_px)
        # (batch, views, fields) -> (views * batch, fields), the order of `pixels`
        apply_colour(pixels, draws.swapaxes(0, 1).reshape(views * batch, -1), self._blur_reach_px, self._extras)
        # (views * batch, 3, side, side) -> (views, batch, 3, side, side)
        pixels = pixels.unflatten(0, (views, batch))
        return pixels.sub_(self._mean[modality]).div_(self._std[modality]).to(self._dtype)


@torch.no_grad()
def centre_views(
    canvases: CanvasBatch, side_px: int, normalisation: Normalisation
) -> Float[Tensor, "batch 3 side side"]:
    """The view for evaluation: the largest centred square of each image, resized, normalised, nothing random.

    Resampled as training views are; runs where the canvases lie.
    """
    size_px = canvases.size_px.cpu().numpy()
    draws = centre_draws(size_px)
    mean, std = _constants(normalisation, canvases.pixels.device)
    image = canvas_image(canvases.pixels, size_px)
    pixels = sample_views(image, draws, side_px=side_px, grid_px=image.shape[-1])
    modality = canvases.modality.to(image.device)
    return pixels.sub_(mean[modality]).div_(std[modality])


def centre_draws(size_px: Int32[np.ndarray, "batch 2"]) -> Float32[np.ndarray, "batch 1 fields"]:
    """Draws of one view per image: its largest centred square, everything else neutral."""
    draws = neutral_views(size_px, 1)
    side_px = size_px.min(axis=1, keepdims=True)
    draws[..., [Field.HEIGHT_PX, Field.WIDTH_PX]] = side_px[:, None]
    draws[..., [Field.TOP_PX, Field.LEFT_PX]] = (size_px - side_px)[:, None] // 2
    return draws


def canvas_image(
    pixels: UInt8[Tensor, "batch 3 side side"], size_px: Int32[np.ndarray, "batch 2"]
) -> Float[Tensor, "batch 3 side side"]:
    """Canvases in [0, 1] whose valid area is continued by its own edge, so that no sample reads the padding."""
    image = pixels.to(torch.float32).div_(255.0)
    side_px = image.shape[-1]
    beyond = np.arange(_TAPS_BEYOND)
    last = torch.from_numpy(size_px.astype(np.int64) - 1).to(image.device, non_blocking=True)
    outside = torch.from_numpy(np.minimum(size_px[:, :, None] + beyond, side_px - 1).astype(np.int64))
    outside = outside.to(image.device, non_blocking=True)
    index = torch.arange(len(image), device=image.device)
    # (batch, 3, side) -> (batch, 1, 3, side): one edge row written to each of the rows beyond it
    image[index[:, None], :, outside[:, 0]] = image[index, :, last[:, 0]][:, None]
    image[index[:, None], :, :, outside[:, 1]] = image[index, :, :, last[:, 1]][:, None]
    return image


def sample_views(
    image: Float[Tensor, "batch 3 canvas canvas"],
    draws: Float32[np.ndarray, "batch views fields"],
    *,
    side_px: int,
    grid_px: int,
) -> Float[Tensor, "rows 3 side side"]:
    """Crop, turn, flip and resize: the views of `draws` in [0, 1], row v * batch + b holding view v of image b.

    `grid_px` is the side of the grid that crops are read on; it must be no less than the longest crop side.
    """
    batch, views = draws.shape[:2]
    x_px, y_px = _grid(draws, grid_px, image.device)
    inside = _stay_inside(x_px, y_px, draws)
    canvas_px = image.shape[-1]
    # (batch, views, grid, grid) -> (batch, views * grid, grid), canvas pixels -> [-1, 1]
    x, y = (axis.mul_(2.0 / canvas_px).sub_(1.0).flatten(1, 2) for axis in (x_px, y_px))
    seen = remap(image, x, y, mode="bicubic", padding_mode="border", align_corners=False, normalized_coordinates=True)
    if inside is not None:
        seen = seen * inside.flatten(1, 2)[:, None]
    # (batch, 3, views * grid, grid) -> (batch, 3 * views, grid, grid) -> (views * batch, 3, side, side)
    resized = nnf.interpolate(seen.view(batch, -1, grid_px, grid_px), side_px, mode="bicubic", antialias=True)
    resized = resized.view(batch, 3, views, side_px, side_px).permute(2, 0, 1, 3, 4)
    return _windowed(resized, draws).clamp(0.0, 1.0).reshape(views * batch, 3, side_px, side_px)


def _windowed(
    views: Float[Tensor, "views batch 3 side side"], draws: Float32[np.ndarray, "batch views fields"]
) -> Float[Tensor, "views batch 3 side side"]:
    """Deep rows as grey through their windows, not clamped; other rows as they are.

    Sampling is linear, so the two bytes of a value may be sampled apart, but neither may be clamped before they meet.
    """
    if not draws[..., Field.DEEP].any():
        return views
    # (batch, views, 3) -> (3, views, batch, 1, 1, 1)
    fields = draws[..., [Field.DEEP, Field.WINDOW_LOW, Field.WINDOW_HIGH]].T
    is_deep, low, high = torch.from_numpy(np.ascontiguousarray(fields)).to(views.device, non_blocking=True)[
        ..., None, None, None
    ]
    # bytes as shares of 255 -> a value as a share of 65,535
    share = (256.0 * views[:, :, :1] + views[:, :, 1:2]) / 257.0
    return torch.where(is_deep > 0, (share - low) / (high - low), views)


def _grid(
    draws: Float32[np.ndarray, "batch views fields"], grid_px: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where each grid point lies on the canvas: x and y in pixels, [batch, views, grid, grid]."""
    maps = torch.from_numpy(source_maps(draws).astype(np.float32)).to(device, non_blocking=True)
    # centres of `grid_px` cells in [-1, 1]
    centre = (2.0 * torch.arange(grid_px, device=device) + 1.0) / grid_px - 1.0
    x, y = (
        (maps[..., axis, 0, None] * centre + maps[..., axis, 2, None])[:, :, None, :]
        + (maps[..., axis, 1, None] * centre)[..., None]
        for axis in (0, 1)
    )
    return x, y


def _stay_inside(x_px: Tensor, y_px: Tensor, draws: Float32[np.ndarray, "batch views fields"]) -> Tensor | None:
    """Mirror grid points at the edges of the valid area, in place.

    Returns which points belong in the view (all but those outside an image with black corners), None when all do.
    """
    is_turned = draws[..., Field.ANGLE_RAD] != 0
    if not is_turned.any():
        return None
    frame = torch.from_numpy(_frame_px(draws).astype(np.float32)).to(x_px.device, non_blocking=True)
    axes = (x_px, frame[:, 1, None, None, None]), (y_px, frame[:, 0, None, None, None])
    belongs = None
    is_black = is_turned & (draws[..., Field.BLACK_CORNERS] > 0)
    if is_black.any():
        is_whole = torch.from_numpy(~is_black).to(x_px.device, non_blocking=True)
        belongs = is_whole[..., None, None]
        belongs = belongs | torch.stack([(axis >= 0) & (axis <= end) for axis, end in axes]).all(dim=0)
    for axis, end in axes:
        # once at each edge is enough: a crop turned about its centre reaches less than its own side beyond the image
        axis.abs_().sub_(end).abs_().neg_().add_(end)
    return belongs


def _frame_px(draws: Float32[np.ndarray, "batch views fields"]) -> Int32[np.ndarray, "batch 2"]:
    """The valid (height, width) of each image, which all of its rows repeat."""
    return draws[:, 0, [Field.FRAME_HEIGHT_PX, Field.FRAME_WIDTH_PX]].astype(np.int32)


def _constants(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation as [modalities, 3, 1, 1] on `device`."""
    mean, std = (
        torch.from_numpy(rows).to(device)[:, :, None, None] for rows in (normalisation.mean, normalisation.std)
    )
    return mean, std
