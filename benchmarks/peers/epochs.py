"""Epoch after epoch of a loader that hands out a state: what the streaming loaders of torch have in common."""

import gc
from collections.abc import Iterator
from typing import Any


class EpochsSource:
    """A loader with `state_dict` and `load_state_dict`, without an end, as a Source."""

    def __init__(self, loader: Any, state: Any) -> None:
        self._loader = loader
        if state is not None:
            loader.load_state_dict(state)

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        while True:
            yield from self._loader

    def state(self) -> Any:
        return self._loader.state_dict()

    def close(self) -> None:
        """Workers stop with their loader, shared memory goes with its dataset: neither has a public way to be told."""
        self._loader = None
        gc.collect()
