"""The engine `dali`: one DALI graph from encoded images and draws to views, on a CPU or a GPU.

Every number comes from our draws as an argument input; DALI draws nothing. A crop is cut out and resized with the
antialiased bicubic kernel of torchvision. Where policies turn images, the crop is first read off the turned image at
the image's own resolution, black or mirrored outside. What DALI cannot do is refused.
Differences from the slow reference, operation by operation, are in docs/dali.md.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mermed.augment.dali_colour import NO_BLUR_PX, colour_factors, coloured, stain_factors, stained
from mermed.augment.draw import Field, PolicyTable
from mermed.augment.geometry import source_maps
from mermed.augment.policy import Normalisation, Policy
from mermed.augment.stain import is_stained
from mermed.batch import CanvasBatch, CropBatch, EncodedBatch
from mermed.dali import DaliPipeline, dali, decoded, encoded_arrays, last_line, undecodable
from mermed.errors import ConfigError, EnvironmentError_, IntegrityError

_FINER = 2
"""The factor by which images are enlarged before they are turned by other than quarters. DALI's warp is bilinear at
best, which smooths speckle: 0.9 grey levels off in the mean over OCT; read off the bicubic image of twice the size 0.4.
"""
_LONGEST_MIRRORED = 1.7
"""Turned by any angle about its centre, a crop of a ratio up to the root of 3 reaches less than half its own height or
width beyond the image."""
_INSTEAD = "--set stream.decoder=dali --set augment.engine=torch"


@dataclass(frozen=True, slots=True)
class _Kind:
    """Global or local views: their places in a row of draws, and their side."""

    name: str
    views: range
    side_px: int


class DaliCrops:
    """Turns encoded images and draws into normalised views, decoding included.

    Raises ConfigError for policies that DALI cannot apply, naming their field, and EnvironmentError_ without DALI.
    """

    def __init__(
        self,
        policies: PolicyTable,
        normalisation: Normalisation,
        *,
        global_px: int,
        local_px: int,
        num_global: int,
        num_local: int,
        batch: int,
        num_threads: int,
        device: torch.device,
    ) -> None:
        for policy in policies.policies:
            _check(policy)
        counts, sides_px = (num_global, num_local), (global_px, local_px)
        first = (0, num_global)
        self._kinds = [
            _Kind(name, range(first[at], first[at] + counts[at]), sides_px[at])
            for at, name in enumerate(("global", "local"))
        ]
        self._shown = [kind for kind in self._kinds if kind.views]
        is_turned = policies.column("rotation_deg") > 0
        self._has_black = bool((is_turned & (policies.column("corners") == "black")).any())
        self._has_mirror = bool((is_turned & (policies.column("corners") == "reflect")).any())
        self._finer = _FINER if is_turned.any() else 1
        self._is_turning = bool(is_turned.any() or policies.column("quarter_turns").any())
        self._has_stain = bool(policies.column("hed_sigma").any())
        self._has_hue = bool(policies.column("hue").any())
        self._normalisation = normalisation
        self._device = device
        self._number = None if device.type == "cpu" else device.index or 0
        self._pipeline = DaliPipeline(self._graph, batch=batch, num_threads=num_threads, device=self._number)

    @torch.no_grad()
    def __call__(
        self, canvases: EncodedBatch | CanvasBatch, draws: Float32[np.ndarray, "batch views fields"]
    ) -> CropBatch:
        """The views of `draws`, normalised, on this engine's device; global views come first in `draws`.

        Raises ConfigError for canvases and for 16-bit images, IntegrityError for an image that does not
        decode, EnvironmentError_ when DALI fails for another reason.
        """
        if isinstance(canvases, CanvasBatch):
            raise ConfigError(
                "the engine dali makes views of encoded images, not of canvases",
                next_step="choose another engine for this, as by --set augment.engine=torch",
            )
        encoded = canvases
        _check_depth(encoded)
        self._check_draws(draws)
        try:
            crops = self._crops(encoded, draws)
        except RuntimeError as error:
            raise _why(encoded, error) from None
        modality = torch.from_numpy(encoded.modality).to(self._device, non_blocking=True)
        return CropBatch(global_crops=crops[0], local_crops=crops[1], modality=modality)

    def _check_draws(self, draws: Float32[np.ndarray, "batch views fields"]) -> None:
        """The graph has only the parts that the policies need: draws of other policies would lose theirs."""
        is_turned, is_black = draws[..., Field.ANGLE_RAD] != 0, draws[..., Field.BLACK_CORNERS] > 0
        missing = {
            "rotation with black corners": not self._has_black and (is_turned & is_black).any(),
            "mirrored rotation": not self._has_mirror and (is_turned & ~is_black).any(),
            "quarter turns": not self._is_turning and draws[..., Field.QUARTER_TURNS].any(),
            "stain": not self._has_stain and is_stained(draws).any(),
            "hue": not self._has_hue and draws[..., Field.HUE].any(),
            "a window of 16 bits": draws[..., Field.DEEP].any(),
        }
        if found := [name for name, is_missing in missing.items() if is_missing]:
            raise ConfigError("draws ask for what the engine dali was not built for", found=", ".join(found))

    def _crops(self, encoded: EncodedBatch, draws: Float32[np.ndarray, "batch views fields"]) -> list[Tensor]:
        """The global and the local views in memory of their own: DALI uses its own again at the next call."""
        made = iter(self._pipeline(self._inputs(encoded, draws)))
        return [
            # (batch, views, 3, side, side) -> (views, batch, 3, side, side)
            next(made).transpose(0, 1).clone(memory_format=torch.contiguous_format)
            if kind.views
            else torch.empty((0, len(encoded), 3, kind.side_px, kind.side_px), device=self._device)
            for kind in self._kinds
        ]

    def _inputs(self, encoded: EncodedBatch, draws: Float32[np.ndarray, "batch views fields"]) -> dict[str, Any]:
        """What each external source of the graph is fed."""
        mean, std = (rows[encoded.modality] for rows in (self._normalisation.mean, self._normalisation.std))
        fed: dict[str, Any] = {
            "encoded": encoded_arrays(encoded.images),
            "frame_h": draws[:, 0, Field.FRAME_HEIGHT_PX],
            "frame_w": draws[:, 0, Field.FRAME_WIDTH_PX],
            "scale": (1.0 / std)[:, None, None, None],
            "offset": (-mean / std)[:, None, None, None],
        }
        for kind in self._shown:
            rows = draws[:, kind.views]
            if self._has_stain:
                fed[f"{kind.name}_stain"] = stain_factors(rows)[..., None, None, None]
            fed[f"{kind.name}_factors"] = colour_factors(rows)[..., None, None, None]
            fed[f"{kind.name}_sigma"] = np.maximum(rows[..., Field.BLUR_SIGMA_PX], NO_BLUR_PX)
        places = self._turns(draws) if self._is_turning else _boxes(draws)
        for view in range(draws.shape[1]):
            fed |= {f"{name}_{view}": rows[:, view] for name, rows in places.items()}
        return {name: rows if isinstance(rows, list) else np.ascontiguousarray(rows) for name, rows in fed.items()}

    def _graph(self) -> list[Any]:
        fn, math, types = dali().fn, dali().math, dali().types
        height_px, width_px = _source("frame_h"), _source("frame_w")
        image = decoded(_source("encoded"), height_px, width_px, self._number)
        if self._finer > 1:
            size = {"resize_y": height_px * self._finer, "resize_x": width_px * self._finer}
            image = fn.resize(image, interp_type=types.INTERP_CUBIC, **size)
        scale, offset = (self._placed(_source(name)) for name in ("scale", "offset"))
        inside = image[:, :, 0:1] * 0.0 + 1.0
        image = _mirrored(image, height_px, width_px) if self._has_mirror else image
        crops = []
        for kind in self._shown:
            seen = [self._view(image, inside, number, kind.side_px) for number in kind.views]
            # (views, side, side, 3) of each image
            views = math.clamp(fn.stack(*seen, axis=0, axis_name="F") / 255.0, 0.0, 1.0)
            if self._has_stain:
                views = stained(views, self._placed(_source(f"{kind.name}_stain")))
            factors = self._placed(_source(f"{kind.name}_factors"))
            views = coloured(views, factors, _source(f"{kind.name}_sigma"), has_hue=self._has_hue)
            crops.append(fn.transpose(views * scale + offset, perm=[0, 3, 1, 2]))
        return crops

    def _view(self, image: Any, inside: Any, number: int, side_px: int) -> Any:
        """One view of each image in grey levels, HWC, before its colours change."""
        fn, math, types = dali().fn, dali().math, dali().types
        cubic = {"size": [side_px, side_px], "interp_type": types.INTERP_CUBIC, "antialias": True}
        size = _source(f"size_{number}")
        if not self._is_turning:
            # cut before it is resized: the kernel must not look beyond the crop
            crop = fn.slice(image, start=_source(f"start_{number}"), shape=size, axes=[0, 1])
            view = fn.resize(crop, dtype=types.FLOAT, **cubic)
            return fn.flip(view, horizontal=_source(f"flip_h_{number}"), vertical=_source(f"flip_v_{number}"))
        warp = {"size": size, "dtype": types.FLOAT}
        turned = fn.warp_affine(image, matrix=_source(f"matrix_{number}"), interp_type=types.INTERP_LINEAR, **warp)
        if self._has_black:
            # the edge is repeated there and masked here: filling with black would darken the edge's own pixels
            warp |= {"matrix": _source(f"inside_{number}"), "interp_type": types.INTERP_NN, "fill_value": 0.0}
            turned = turned * math.max(fn.warp_affine(inside, **warp), self._placed(_source(f"whole_{number}")))
        return fn.resize(turned, **cubic)

    def _turns(self, draws: Float32[np.ndarray, "batch views fields"]) -> dict[str, np.ndarray]:
        """The size of each view at the image's resolution, and the map from its pixels to those of the finer image."""
        size = draws[..., [Field.HEIGHT_PX, Field.WIDTH_PX]]
        size = np.where(draws[..., [Field.QUARTER_TURNS]] % 2 == 1, size[..., ::-1], size)
        maps = self._finer * source_maps(draws)
        # [-1, 1] -> pixels of the view, measured from its corner
        across, down = 2.0 / size[..., [1]], 2.0 / size[..., [0]]
        columns = maps[..., 0] * across, maps[..., 1] * down, maps[..., 2] - maps[..., 0] - maps[..., 1]
        matrix = np.stack(columns, axis=-1).astype(np.float32)
        fed = {"size": size.astype(np.float32), "matrix": matrix}
        if self._has_black:
            fed |= {"inside": matrix, "whole": (draws[..., [[[Field.BLACK_CORNERS]]]] == 0).astype(np.float32)}
        if self._has_mirror:
            margin = np.zeros_like(matrix)
            margin[..., 2] = draws[..., [Field.FRAME_WIDTH_PX, Field.FRAME_HEIGHT_PX]]
            fed["matrix"] = matrix + margin
        return fed

    def _placed(self, node: Any) -> Any:
        return node if self._number is None else node.gpu()


def _source(name: str) -> Any:
    return dali().fn.external_source(name=name)


def _boxes(draws: Float32[np.ndarray, "batch views fields"]) -> dict[str, np.ndarray]:
    """Where each crop lies and how it is mirrored."""
    return {
        "start": draws[..., [Field.TOP_PX, Field.LEFT_PX]].astype(np.int32),
        "size": draws[..., [Field.HEIGHT_PX, Field.WIDTH_PX]].astype(np.int32),
        "flip_h": draws[..., Field.FLIP_H].astype(np.int32),
        "flip_v": draws[..., Field.FLIP_V].astype(np.int32),
    }


def _mirrored(image: Any, height_px: Any, width_px: Any) -> Any:
    """Graph part: an image of twice the height and width given, with half of itself mirrored at each of its edges."""
    fn, types = dali().fn, dali().types
    for axis, length_px, flip in ((0, height_px, {"vertical": 1}), (1, width_px, {"horizontal": 1})):
        length = fn.cast(length_px, dtype=types.INT32)
        halves = [
            fn.flip(fn.slice(image, start=begin, end=end, axes=[axis]), **{"vertical": 0, "horizontal": 0, **flip})
            for begin, end in ((0 * length, length), (length, 2 * length))
        ]
        image = fn.cat(halves[0], image, halves[1], axis=axis)
    return image


def _check(policy: Policy) -> None:
    longest = max(policy.ratio[1], 1.0 / policy.ratio[0])
    if policy.corners == "reflect" and policy.rotation_deg and longest > _LONGEST_MIRRORED:
        raise ConfigError(
            "the engine dali mirrors half an image at each edge, too little for crops as long as this policy's",
            where={"policy of": policy.reason},
            expected=f"a ratio of at most {_LONGEST_MIRRORED} to 1",
            found=f"ratio {policy.ratio}",
            next_step=_INSTEAD,
        )


def _check_depth(encoded: EncodedBatch) -> None:
    for image, meta in zip(encoded.images, encoded.meta, strict=True):
        # the bit depth in the header of a PNG
        if image.startswith(b"\x89PNG") and image[24:25] == b"\x10":
            raise ConfigError(
                "the engine dali has no window for images of 16 bits", where={"key": meta.key}, next_step=_INSTEAD
            )


def _why(encoded: EncodedBatch, error: RuntimeError) -> IntegrityError | EnvironmentError_:
    """What DALI failed at: the first image that it cannot decode alone, else something other than an image."""
    culprits = undecodable(encoded.images)
    if not culprits:
        return EnvironmentError_("DALI failed on images that it can decode", found=last_line(error))
    meta = encoded.meta[culprits[0]]
    return IntegrityError(
        "an image that was packed does not decode",
        where={"source": f"{meta.modality}/{meta.dataset}/{meta.split}", "key": meta.key},
        next_step="mermed-shard verify DATA",
    )
