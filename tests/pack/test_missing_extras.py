"""A library that is not installed is one line with the command that installs it, and the run goes on."""

import importlib
import sys

import pytest

from mermed.errors import EnvironmentError_

READERS = [
    ("nifti_header", "nibabel.nifti1", "nifti"),
    ("video", "av", "video"),
    ("slide_file", "openslide", "wsi"),
]


@pytest.mark.parametrize(("module", "library", "extra"), READERS)
def test_a_reader_without_its_library_names_the_command(module, library, extra, monkeypatch):
    name = f"mermed.pack.readers.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EnvironmentError_) as caught:
        importlib.import_module(name)
    assert caught.value.next_step == f"pip install 'mermed[{extra}]'"
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("module", ["animation", "stack", "oct", "moving", "tissue"])
def test_the_other_readers_need_no_library_of_their_own(module, monkeypatch):
    for _, library, _ in READERS:
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"mermed.pack.readers.{module}", raising=False)
    assert importlib.import_module(f"mermed.pack.readers.{module}")
