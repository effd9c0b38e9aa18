"""The whole evaluation of a small run: numbers, report, whose folder it is, and that it says the same twice."""

import copy
import io
import json
import re
import sys

import pytest
from rich.console import Console

from mermed.errors import ConfigError, EnvironmentError_
from mermed.eval import report
from mermed.eval.comparison import overall
from mermed.eval.evaluation import EvalSettings, evaluate
from mermed.eval.verdict import notices, verdict

QUIET = Console(file=io.StringIO())
SETTINGS = EvalSettings(device="cpu", num_threads=1)


@pytest.fixture(scope="module")
def evaluated(small_run, small_collection, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "eval"
    summary = evaluate(small_run, small_collection, out, SETTINGS, QUIET)
    return out, summary


@pytest.fixture
def summary(evaluated):
    return copy.deepcopy(evaluated[1])


def blobs(summary):
    (task,) = [task for task in summary["tasks"] if task["name"] == "us/blobs"]
    return task


def test_every_dataset_is_listed_with_numbers_or_a_reason(evaluated):
    _, summary = evaluated
    assert {task["name"]: bool(task["results"]) for task in summary["tasks"]} == {
        "cxr/plain": False,
        "oct/few": False,
        "us/blobs": True,
    }
    assert all(task["reason"] for task in summary["tasks"] if not task["results"])
    assert blobs(summary)["images"]["test"] == {"dark": 12, "light": 12}
    assert blobs(summary)["groups"] == {"train": 20, "val": 8, "test": 12}


def test_a_class_that_shows_in_the_brightness_is_found_by_both_probes(evaluated):
    results = blobs(evaluated[1])["results"]
    for probe in ("knn", "linear"):
        for model in ("teacher", "initial", "random"):
            assert results[probe][model]["auroc"]["value"] > 0.9
    assert results["linear"]["teacher"]["chosen_on"] == "val"


def test_random_weights_are_three_draws_with_their_mean_and_range(evaluated):
    results = blobs(evaluated[1])["results"]["knn"]["random"]
    values = [seed["value"] for seed in results["seeds"]]
    assert len(values) == 3
    assert results["auroc"]["value"] == pytest.approx(sum(values) / 3)
    assert results["range"] == [min(values), max(values)]
    assert len({model["weights"] for model in evaluated[1]["models"].values()}) == 5


def test_the_summary_states_the_budget_and_is_what_was_written(evaluated):
    out, summary = evaluated
    # another test may have run the same command again, which changes nothing but the time
    assert {**json.loads((out / "summary.json").read_text()), "seconds": 0} == {**summary, "seconds": 0}
    assert summary["run"]["images_seen"] == 56
    assert summary["data"]["images"] == 86


def test_the_report_asks_the_network_for_nothing(evaluated):
    page = (evaluated[0] / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]|<script|<link|<iframe|@import|\bsrc=|url\((?!#)", page)
    assert len(page) < 20 * 2**20
    identifiers = re.findall(r' id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page):
        assert "".join(target) in identifiers


def test_the_report_names_every_dataset_and_model_but_no_group_and_no_key(evaluated, small_collection):
    page = (evaluated[0] / "report.html").read_text()
    for name in ("us/blobs", "oct/few", "cxr/plain", "teacher", "initial", "random", "dark", "light"):
        assert name in page
    assert not re.search(r"blobs_(train|val|test)_\d|\bg(train|val|test)\d|\.tar", page)
    assert str(small_collection) not in page


def test_figures_take_the_colour_of_the_page(evaluated):
    page = (evaluated[0] / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "currentColor" in page
    assert "#010203" not in page
    assert "prefers-color-scheme: dark" in page


def test_a_second_call_goes_on_with_its_own_folder_and_says_the_same(evaluated, small_run, small_collection):
    out, summary = evaluated
    again = evaluate(small_run, small_collection, out, SETTINGS, QUIET)
    assert {**again, "seconds": 0} == {**summary, "seconds": 0}


def test_the_folder_of_another_run_is_refused_and_left_alone(evaluated, make_run, small_collection):
    out, _ = evaluated
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(ConfigError, match="belongs to another run"):
        evaluate(make_run("other", seed=1), small_collection, out, SETTINGS, QUIET)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_folder_with_foreign_files_is_refused(small_run, small_collection, tmp_path):
    (tmp_path / "thesis.tex").write_text("keep me")
    with pytest.raises(ConfigError, match="belongs to another"):
        evaluate(small_run, small_collection, tmp_path, SETTINGS, QUIET)


def test_a_missing_plotting_library_is_told_before_the_work(small_run, small_collection, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentError_, match=r"mermed\[plots\]"):
        evaluate(small_run, small_collection, tmp_path / "eval", SETTINGS, QUIET)
    assert not (tmp_path / "eval").exists()


def test_a_leak_is_stamped_on_every_number(summary):
    blobs(summary)["leak"] = {"status": "LEAKY", "reason": "pretraining drew from the test split"}
    assert verdict(summary).startswith("LEAKY, test images of 1 dataset")
    assert notices(summary)[0].text.startswith("LEAKY")
    assert report.render(summary, []).count("LEAKY") == 5  # verdict, attention, figure, table, details


def test_few_test_patients_decide_nothing(summary):
    against = summary["overall"]["linear"]["teacher_against"]["random"]
    assert against["too small"] == ["us/blobs"]
    assert "1 with fewer than 20 test patients decide nothing" in verdict(summary)
    assert any("us/blobs (12)" in notice.text for notice in notices(summary))


def test_a_number_that_is_not_defined_is_shown_as_na_with_the_reason(summary):
    nothing = {"value": None, "low": None, "high": None, "lacking": 0, "reason": "the scores <are> the same"}
    for probe in ("knn", "linear"):
        blobs(summary)["results"][probe]["teacher"]["auroc"] = nothing
        blobs(summary)["results"][probe]["differences"]["teacher - random"] = nothing
    page = report.render(summary, [])
    assert 'title="the scores &lt;are&gt; the same">n/a</span>' in page


def test_a_collection_without_any_task_still_has_a_report(summary):
    summary["tasks"] = [task for task in summary["tasks"] if not task["results"]]
    summary["overall"] = overall(summary["tasks"], {})
    page = report.render(summary, [])
    assert "Nothing could be scored" in page
    assert "oct/few" in page


def test_attention_names_what_a_reader_must_know(summary):
    summary["run"] |= {"step": 3, "skipped_checkpoints": ["step-000000009 (state.json is missing)"]}
    summary["data"]["unknown_modalities"] = ["us"]
    blobs(summary)["flaws"] = [{"badge": "duplicates", "reason": "images occur twice"}]
    blobs(summary)["leak"]["status"] = "not checked"
    blobs(summary)["results"]["linear"]["teacher"] |= {"chosen_on": "train groups held out", "converged": False}
    text = " ".join(f"{notice.text} {notice.next_step}" for notice in notices(summary))
    for expected in (
        "step 3 of 4",
        "mermed-train resume run",
        "step-000000009",
        "never saw us",
        "duplicates",
        "another collection",
        "did not converge",
        "No usable validation split",
        "2 of 3 datasets could not be scored",
    ):
        assert expected in text
