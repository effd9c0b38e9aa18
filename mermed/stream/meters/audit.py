"""The data audit: one 64-bit number for the samples that filled a set of slots, equal for every topology."""

from collections.abc import Iterable
from typing import SupportsInt

import xxhash

from mermed.contract import SampleMeta

_MODULUS = 1 << 64


def audit_of(slots: Iterable[SupportsInt], metas: Iterable[SampleMeta]) -> int:
    """The sum mod 2**64 over slots of XXH3-64(slot, source, key).

    A sum, so it does not matter which rank, thread or batch met a slot, nor when: add the numbers of all parts. A slot
    that is lost, doubled or filled with another sample changes it.
    """
    return sum(slot_audit(int(slot), meta) for slot, meta in zip(slots, metas, strict=True)) % _MODULUS


def slot_audit(slot: int, meta: SampleMeta) -> int:
    """The number of one slot, from what is in it: names hold no "/" or zero byte, so no two slots share their text."""
    content = f"{meta.modality}/{meta.dataset}/{meta.key}".encode()
    return xxhash.xxh3_64_intdigest(slot.to_bytes(8, "little") + content)


class Audit:
    """A running audit; `value` of the ranks of a world add up with `merge`."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def add(self, slots: Iterable[SupportsInt], metas: Iterable[SampleMeta]) -> None:
        """Count a batch."""
        self.merge(audit_of(slots, metas))

    def merge(self, value: int) -> None:
        """Add the audit of other slots."""
        self.value = (self.value + value) % _MODULUS
