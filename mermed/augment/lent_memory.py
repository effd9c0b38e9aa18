"""Memory for results that is used again once nobody holds them: fresh pages cost a CPU as much as writing to them."""

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(slots=True)
class _Memory:
    values: np.ndarray
    loan: "weakref.ref[np.ndarray] | None" = None


class LentMemory:
    """Lends float32 tensors. One is lent again when it and all its views are gone; not for use from several threads."""

    def __init__(self) -> None:
        self._memories: list[_Memory] = []

    def lend(self, *shape: int) -> Tensor:
        """A tensor of that shape with any content."""
        for memory in self._memories:
            if memory.values.shape == shape and (memory.loan is None or memory.loan() is None):
                break
        else:
            memory = _Memory(np.empty(shape, np.float32))
            self._memories.append(memory)
        # A tensor's storage keeps the very array that it was made from: this view lives as long as any view of it.
        view = memory.values[...]
        memory.loan = weakref.ref(view)
        return torch.from_numpy(view)
