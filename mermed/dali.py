"""NVIDIA DALI for those who use it: the lazy import, pipelines fed by hand, and which images it cannot decode.

DALI comes with the extra `dali`. Everything runs on a CPU (`device` None) or on the GPU of that number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mermed.errors import missing_extra

Graph = Callable[[], Sequence[Any]]
"""What defines a pipeline, inside its context: returns its outputs."""


def dali() -> Any:
    """The package `nvidia.dali` with `fn`, `types` and `math`; raises EnvironmentError_ where it is not installed."""
    try:
        import nvidia.dali
        import nvidia.dali.fn
        import nvidia.dali.math
        import nvidia.dali.types
    except ImportError:
        raise missing_extra("dali", "decoding or augmenting with DALI") from None
    return nvidia.dali


class DaliPipeline:
    """One DALI graph, fed batch by batch: nothing is in flight between two calls, and a batch may be smaller than most.

    A graph that failed is dead: the next call builds it anew, so that one bad image does not end a run.
    """

    def __init__(self, graph: Graph, *, batch: int, num_threads: int, device: int | None) -> None:
        self._graph = graph
        self._settings = {"batch_size": batch, "num_threads": num_threads, "device_id": device}
        self._device = device
        self._pipeline = self._build()

    def _build(self) -> Any:
        pipeline = dali().Pipeline(**self._settings, seed=0, prefetch_queue_depth=1, exec_dynamic=True)
        with pipeline:
            pipeline.set_outputs(*self._graph())
        pipeline.build()
        return pipeline

    def __call__(self, inputs: Mapping[str, Any]) -> list[Tensor]:
        """The outputs for `inputs`, arrays or lists of one array per image by the names of the external sources.

        They are views of DALI's memory: use them, in stream order on a GPU, before the next call. Raises RuntimeError
        for whatever DALI could not do.
        """
        if self._pipeline is None:
            self._pipeline = self._build()
        stream = None if self._device is None else torch.cuda.current_stream(self._device)
        try:
            outputs = self._pipeline.run(stream, **inputs)
        except RuntimeError:
            self._pipeline = None
            raise
        return [torch.from_dlpack(output.as_tensor()) for output in outputs]


def decoded(encoded: Any, height_px: Any, width_px: Any, device: int | None) -> Any:
    """Graph part: JPEG or PNG bytes to RGB, HWC uint8, reduced with antialiasing to the size given for each image.

    On a GPU JPEGs are decoded there (`mixed`) and upsample colour as libjpeg-turbo does; an orientation in the file is
    not looked at, as shards hold none.
    """
    fn, types = dali().fn, dali().types
    place = {"device": "cpu"} if device is None else {"device": "mixed", "jpeg_fancy_upsampling": True}
    pixels = fn.decoders.image(encoded, output_type=types.RGB, adjust_orientation=False, **place)
    return fn.resize(pixels, resize_y=height_px, resize_x=width_px, interp_type=types.INTERP_LINEAR, antialias=True)


def encoded_arrays(images: Sequence[bytes]) -> list[np.ndarray]:
    """The bytes of images as DALI wants them, without a copy."""
    return [np.frombuffer(image, np.uint8) for image in images]


def undecodable(images: Sequence[bytes]) -> list[int]:
    """The places of those of `images` that DALI cannot decode on the CPU, tried one by one."""
    fn = dali().fn

    def graph() -> list[Any]:
        return [fn.decoders.image(fn.external_source(name="encoded"), device="cpu")]

    pipeline = DaliPipeline(graph, batch=1, num_threads=1, device=None)
    failed = []
    for place, image in enumerate(encoded_arrays(images)):
        try:
            pipeline({"encoded": [image]})
        except RuntimeError:
            failed.append(place)
    return failed


def last_line(error: RuntimeError) -> str:
    """Of DALI's report of an error, the line that says what failed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("Assert")), lines[0] if lines else type(error).__name__)
