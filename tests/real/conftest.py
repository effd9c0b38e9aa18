"""What tests over real files share with the tests of the packer: a secret, and a pack into a temporary folder."""

import csv

import pytest

from mermed.pack.identity import Identity
from mermed.pack.options import PackOptions
from mermed.pack.packing import pack


@pytest.fixture
def pack_source(tmp_path):
    """Pack a source into tmp_path/out; returns the folder and the result."""

    def run(source, **choices):
        result = pack(source, tmp_path / "out", options=PackOptions(), identity=Identity(b"x" * 16), **choices)
        return tmp_path / "out", result

    return run


@pytest.fixture
def listed():
    """Read one of the CSV lists of a pack."""

    def read(path):
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return read
