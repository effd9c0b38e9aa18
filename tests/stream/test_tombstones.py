"""Tombstones: what is in the file is never drawn, and a file that says nothing clear is refused."""

import csv

import pytest
from click.testing import CliRunner

from mermed.cli.shard_tombstones import tombstones
from mermed.contract import load_manifest
from mermed.errors import ConfigError
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.replace.tombstones import Tombstones, keys_of_groups, read_tombstones
from mermed.stream.store import LocalStore


def _write(tmp_path, text):
    path = tmp_path / "tombstones.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_keys_stand_one_a_line_between_comments_and_blank_lines(tmp_path):
    path = _write(tmp_path, "# taken back in May\n\nbusi-01\r\n  nih_2  # by the curator\nbusi-01\n")
    found = read_tombstones(path)
    assert found.keys == {"busi-01", "nih_2"}
    assert len(found) == 2
    assert "busi-01" in found
    assert "busi-02" not in found


def test_no_file_is_no_tombstones():
    assert read_tombstones("") == Tombstones()
    assert not read_tombstones("")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n"])
def test_a_file_without_keys_is_no_tombstones(tmp_path, text):
    assert len(read_tombstones(_write(tmp_path, text))) == 0


@pytest.mark.parametrize(
    "line", ["IMG_0001.dcm", "Busi-01", "busi-01,busi-02", "busi 01", "-busi", "b" * 65, "../x", "büsi", "a.b"]
)
def test_a_line_that_is_no_key_is_named_by_its_number_and_never_shown(tmp_path, line):
    with pytest.raises(ConfigError, match="lines that are no keys") as caught:
        read_tombstones(_write(tmp_path, f"busi-01\n{line}\nbusi-02\n"))
    assert "lines 2" in str(caught.value)
    assert "1 such lines" in str(caught.value)
    assert line not in str(caught.value), "a name may identify"


def test_many_wrong_lines_are_counted_and_the_first_are_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_tombstones(_write(tmp_path, "a.b\n" * 40))
    assert "lines 1, 2, 3, 4, 5" in str(caught.value)
    assert "40 such lines" in str(caught.value)


def test_a_file_that_is_missing_or_no_text_stops_the_run(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tombstones(tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tombstones(_write(tmp_path, b"\xff\xfe\x00"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tombstones(tmp_path)


def test_the_digest_is_of_the_keys_alone(tmp_path):
    one = read_tombstones(_write(tmp_path, "a\nb\n"))
    assert one.digest == read_tombstones(_write(tmp_path, "# c\nb\n\na\nb")).digest
    assert one.digest != read_tombstones(_write(tmp_path, "a\n")).digest
    assert one.digest != Tombstones().digest


@pytest.fixture
def grouped(collection):
    """The splits.csv of the packed phantoms, by group."""
    groups = {}
    with (collection / "splits.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["group"], []).append(row["key"])
    return groups


def test_the_keys_of_a_group_are_all_its_samples(collection, grouped):
    largest = max(grouped, key=lambda group: len(grouped[group]))
    other = min(grouped, key=lambda group: (len(grouped[group]), group))
    assert len(grouped[largest]) > 1
    assert keys_of_groups(collection, [largest]) == sorted(grouped[largest])
    assert keys_of_groups(collection, [largest, other]) == sorted(grouped[largest] + grouped[other])


def test_the_command_writes_a_file_that_reads_back_as_keys_of_the_shards(collection, grouped, tmp_path):
    group = max(grouped, key=lambda group: len(grouped[group]))
    result = CliRunner().invoke(tombstones, [str(collection), "--group", group])
    assert result.exit_code == 0, result.output
    found = read_tombstones(_write(tmp_path, result.output))
    assert found.keys == set(grouped[group])
    shelf = IndexShelf(LocalStore(collection))
    packed = {shelf.key(row, index) for row in load_manifest(collection).shards for index in range(row.samples)}
    assert found.keys <= packed


def test_a_group_that_occurs_nowhere_is_refused(collection):
    with pytest.raises(ConfigError, match="groups occur nowhere") as caught:
        keys_of_groups(collection, ["0" * 20])
    assert "0" * 20 in str(caught.value)


def test_a_collection_without_its_table_of_groups_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no table of groups"):
        keys_of_groups(tmp_path, ["x"])
