"""Compare two loss traces (one loss per line): equal within a tolerance, or the first step that differs."""

import argparse
import sys
from pathlib import Path


def read_trace(path: Path) -> list[float]:
    """The losses of a trace; lines that begin with # are remarks."""
    return [float(line) for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]


def first_difference(expected: list[float], found: list[float], tolerance: float) -> str | None:
    """What differs first, or None. `tolerance` is relative to the expected loss."""
    if len(expected) != len(found):
        return f"{len(expected)} steps expected, {len(found)} found"
    for step, (one, other) in enumerate(zip(expected, found, strict=True), start=1):
        if not abs(one - other) <= tolerance * max(abs(one), 1e-3):
            return f"step {step}: expected {one!r}, found {other!r}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expected", type=Path)
    parser.add_argument("found", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="relative; 0 asks for equal bits")
    arguments = parser.parse_args()
    difference = first_difference(read_trace(arguments.expected), read_trace(arguments.found), arguments.tolerance)
    sys.exit(difference)


if __name__ == "__main__":
    main()
