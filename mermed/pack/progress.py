"""Progress: how far a pack has come, per modality."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityProgress:
    """Inputs of one modality: `done` of `total` files, the bytes of the files read, and what could not be packed.

    `bad` counts quarantined inputs (a container may count several), `duplicates` those found so far.
    """

    done: int = 0
    total: int = 0
    read_bytes: int = 0
    bad: int = 0
    duplicates: int = 0
