"""The scorecard: its comparisons tell exact loaders from others, and its rows find what they look for in a real one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peers.contestant import PeerFailed
from peers.decoding import decode
from peers.states import from_json, to_json
from scorecard.card import ROWS, Column, column, table
from scorecard.cell import Cell, absent
from scorecard.crew import Crew
from scorecard.data import SIDE_PX, Set, Sets, write_set
from scorecard.rows.setting import Setting
from scorecard.sequences import cycle, deviation, gap, order_changed, steps


def test_the_deviation_is_the_worst_over_ranks_batches_and_prefixes():
    exact = [["a-0", "b-0"], ["a-1", "b-1"]]
    skewed = [["a-0", "a-1"], ["a-2", "b-0"], ["a-3", "b-1"]]
    assert (deviation([exact], "ab").batch, deviation([exact], "ab").prefix) == (0, 0)
    assert (deviation([exact, skewed], "ab").batch, deviation([exact, skewed], "ab").prefix) == (1, 1)


def test_a_deviation_that_batches_hide_shows_over_the_run():
    found = deviation([[["a-0", "a-1", "b-0"]] * 10], "ab")
    assert (found.batch, found.prefix) == (0.5, 5)


def test_a_source_that_never_comes_counts_as_its_whole_share():
    assert deviation([[["a-0", "a-1"]]], "ab").batch == 1


def test_a_step_is_what_all_ranks_train_on_together():
    one_rank, two_ranks = [["a", "b"], ["c", "d"]], [[["b"], ["c"]], [["a"], ["d"]]]
    assert steps([one_rank]) == steps(two_ranks)
    assert steps([one_rank]) != steps([[["a", "c"], ["b", "d"]]])


@pytest.mark.parametrize(
    ("batches", "twice", "never"),
    [
        ([["a", "b"], ["c"]], 0, 0),
        ([["a", "b"], ["c", "a"]], 0, 0),  # the next epoch began in the last batch
        ([["a", "a"], ["c", "a"]], 1, 1),
        ([["a", "b"]], 0, 1),
        ([["a", "b"], ["b"]], 1, 1),
    ],
)
def test_an_epoch_counts_samples_that_came_twice_and_that_never_came(batches, twice, never):
    found = cycle([batches], 3)
    assert (found.duplicates, found.misses) == (twice, never)


def test_an_epoch_is_counted_over_ranks_that_end_at_different_steps():
    assert cycle([[["a"], ["b"]], [["c"]]], 3).misses == 0


def test_a_gap_counts_lost_and_repeated_samples_and_no_more_batches_than_were_given():
    whole = [["a", "b"], ["c", "d"], ["e", "f"]]
    assert gap(whole, whole[:2]).none
    assert (gap(whole, [["a", "b"], ["b", "d"]]).lost, gap(whole, [["a", "b"], ["b", "d"]]).repeated) == (1, 1)


def test_places_that_hold_another_sample_are_counted():
    assert order_changed("abcd", "abed") == 1
    assert order_changed("abcd", "acd") == 2


def test_a_state_with_tensors_tuples_and_bytes_comes_back_as_it_was():
    state = {"a": (1, 2.5, None), 3: [b"\x00\xff", {"x": "y"}], "t": torch.arange(3), "n": np.uint32([7])}
    back = from_json(to_json(state))
    assert back["a"] == state["a"] and back[3] == state[3]
    assert torch.equal(back["t"], state["t"]) and back["t"].dtype == torch.int64
    assert np.array_equal(back["n"], state["n"]) and back["n"].dtype == np.uint32


def test_a_state_of_an_unknown_kind_is_refused():
    with pytest.raises(TypeError, match="holds a object"):
        to_json(object())
    with pytest.raises(TypeError, match="holds a code"):
        from_json(["code", "import os"])


def test_the_damaged_image_keeps_its_length_and_does_not_decode(tmp_path):
    wanted = Set(("oct",), 74, corrupt=True)
    write_set(wanted, tmp_path / "images")
    damaged, whole = tmp_path / "images" / "oct-000072.jpg", tmp_path / "images" / "oct-000073.jpg"
    assert damaged.stat().st_size == whole.stat().st_size
    assert decode(whole.read_bytes(), SIDE_PX).shape == (SIDE_PX, SIDE_PX, 3)
    with pytest.raises(ValueError, match=r"[Pp]remature|[Cc]orrupt"):
        decode(damaged.read_bytes(), SIDE_PX)


def test_the_table_shows_every_row_of_every_loader_on_lines_of_its_own():
    cells = {"order": Cell(text="1 of | 5", passes=True), "mixing": absent("mixes\nno sources")}
    shown = table({"x": Column(title="X", cells=cells, seconds={})}).splitlines()
    assert shown[0] == "|  | X |" and shown[-1] == "| passed | 1 |"
    assert "pass: 1 of / 5" in shown[2] and "-: mixes no sources" in shown[3]


def test_our_order_is_one_over_ranks_and_workers_and_goes_on_exactly_with_others(tmp_path):
    with Crew("ours") as crew:
        setting = Setting(crew, Sets(tmp_path), quick=True)
        filled = column(setting, ["mixed_order", "resize"], lambda _: None)
    assert filled.cells["mixed_order"].text == "1 of 3"
    assert filled.cells["resize"].figures == {"one source": {"1x2": "exact"}, "mixture": {"1x2": "exact"}}
    assert filled.passed == 2


def test_a_loader_that_fails_in_a_row_fails_that_row_alone(tmp_path, monkeypatch):
    def broken(_: Setting) -> Cell:
        raise PeerFailed("ValueError: no such thing")

    monkeypatch.setitem(ROWS, "resume", ("going on", broken))
    crew = SimpleNamespace(title="X", supports=frozenset({"threads"}), give=lambda seconds: None)
    filled = column(Setting(crew, Sets(tmp_path), quick=True), ["resume", "kill_worker"], lambda _: None)
    assert filled.cells["resume"].marked == "FAIL: fails: ValueError: no such thing"
    assert filled.cells["kill_worker"] == absent("threads only: no worker to lose")


def test_a_loader_that_is_not_done_in_time_has_an_open_field_and_goes_on_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("scorecard.card.FIELD_S", 0.0)
    with Crew("ours") as crew:
        setting = Setting(crew, Sets(tmp_path), quick=True)
        filled = column(setting, ["order"], lambda _: None)
        assert filled.cells["order"].marked == "-: not known: not done within 0 s"
        monkeypatch.setattr("scorecard.card.FIELD_S", 150.0)
        assert column(setting, ["order"], lambda _: None).cells["order"].passes
