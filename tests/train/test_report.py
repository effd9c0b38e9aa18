"""The page of a run: everything a reader needs, from the run folder alone, offline, also for a run cut short."""

import json
import math
import re

import pytest
import tomli_w

from mermed.config import to_mapping, with_settings
from mermed.errors import ConfigError
from mermed.presets import preset
from mermed.train.readings import binned, curves, grown, occupancies, read_readings, stall_shares, times
from mermed.train.report import render_report, try_report, write_report
from mermed.train.report_figures import area_figure, curve_figure, round_ticks, tick_text

MODALITIES = ("cfp", "ct", "cxr")


def reading(step, *, stall_s=None, queues=(0.5, 10), session=None, **more):
    """One line of metrics of a run that takes 10 s per 5 steps."""
    occupancy, items = queues
    session = step if session is None else session
    return {
        "step": step,
        "slots": 28 * step,
        "loss": 5.0 - 0.01 * step,
        "loss_by_modality": {name: 5.0 - 0.01 * step - 0.1 * n for n, name in enumerate(MODALITIES)},
        "queue_rank": {name: 20.0 + n for n, name in enumerate(MODALITIES)},
        "images_per_s": 14.0,
        "elapsed_s": 10.0,
        "wait_s": sum((stall_s or {}).values()),
        "stall_s": stall_s or {},
        "causes_s": {"decode": 2.0 * session, "disk": 0.1 * session},
        "incidents": {"retries": 2 * session},
        "queues": {
            "canvas_get_wait_s": 0.5 * session,
            "canvas_put_wait_s": 0.25 * session,
            "canvas_occupancy": occupancy,
            "canvas_items": items,
        },
        "audit": f"{step:016x}",
        **more,
    }


def ledger(draws):
    return {"cxr/nih": {"samples": 100, "draws": draws, "unique": min(draws, 100), "replaced": 1}}


@pytest.fixture
def write_run(tmp_path):
    """A run folder with these readings."""

    def write(readings, settings=()):
        run = tmp_path / "first_run"
        run.mkdir(exist_ok=True)
        config = with_settings(preset("smoke"), ["train.steps=40", *settings])
        (run / "config.toml").write_text(tomli_w.dumps(to_mapping(config)), "utf-8")
        (run / "env.json").write_text(json.dumps({"torch": "2.10", "devices": [], "cores": 2}), "utf-8")
        data = {"manifest_digest": "ab" * 32, "shards": "/secret/place", "modalities": list(MODALITIES)}
        (run / "data.json").write_text(json.dumps(data), "utf-8")
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in readings), "utf-8")
        return run

    return write


@pytest.fixture
def finished():
    return [reading(step, stall_s={"decode": 0.1}, ledger=ledger(step * 4)) for step in range(5, 45, 5)]


def test_a_finished_run_needs_no_attention_and_shows_its_parts(write_run, finished):
    text = write_report(write_run(finished, ["train.batch=14"])).read_text("utf-8")
    assert "Step 40 of 40: 1,120 images in 80.0 s, 14.0 images/s." in text
    assert "waited for data 1.0% of the time, most of it for decode" in text
    assert "Loss 4.950 at step 5, 4.600 at the end." in text
    assert '<p class="soft">Nothing.</p>' in text
    for heading in ("Loss by modality", "Images per second", "Waiting for data", "Queues", "What was drawn"):
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<svg") == 5
    for name in MODALITIES:
        assert f"<title>{name}</title>" in text
    assert "<td>cxr/nih</td><td>100</td><td>160</td><td>100</td><td>1</td>" in text
    assert "<td>retries</td><td>80</td>" in text
    assert "set: train.batch" in text and "28 -&gt; 14" in text


def test_the_page_asks_the_network_for_nothing_and_names_no_place(write_run, finished):
    text = render_report(write_run(finished))
    assert "default-src 'none'" in text
    assert not re.search(r"<script|https?:|src=|url\(|@import|<link", text)
    assert "/secret/place" not in text


def test_the_stalls_of_the_whole_run_are_summed_by_cause_and_told_with_what_helps(write_run):
    lines = [reading(step, stall_s={"network": 2.0, "decode": 1.0}) for step in range(5, 45, 5)]
    text = render_report(write_run(lines))
    assert "<td>network</td><td>the store</td><td>16.0</td><td>20.00%</td>" in text
    assert "<td>decode</td><td>decoding images</td><td>8.0</td><td>10.00%</td><td>80.0</td>" in text
    assert "20.0% of the time went into waiting for network: keep what was fetched (stream.cache_dir)" in text
    assert "10.0% of the time went into waiting for decode: give the run more cores" in text


def test_a_wait_without_a_noted_cause_is_shown_as_such(write_run):
    lines = [reading(step, stall_s={"disk": 1.0}) | {"wait_s": 4.0} for step in (5, 10)]
    assert stall_shares(lines[0]) == {"disk": 0.1, "other": pytest.approx(0.3)}
    assert "<td>other</td><td>no cause noted</td><td>6.0</td>" in render_report(write_run(lines))


def test_the_slow_rank_is_named_when_it_holds_the_others_up(write_run):
    lines = [
        reading(step, stall_s={"disk": 4.0}, stall_rank=3 if step != 20 else 1, stall_mean_s=1.0)
        for step in range(5, 45, 5)
    ]
    assert "Rank 3 waited longest for its data in 7 of 8 readings" in render_report(write_run(lines))
    fair = [reading(step, stall_s={"disk": 0.1}, stall_rank=3, stall_mean_s=0.1) for step in range(5, 45, 5)]
    assert "held the others up" not in render_report(write_run(fair))


def test_an_unfinished_run_a_collapse_replacements_and_repeats_are_told(write_run):
    last = reading(10, queue_rank={"ct": 1.2, "cxr": 30.0}, ledger=ledger(20_000), incidents={"replaced": 7})
    text = render_report(write_run([reading(5, incidents={"replaced": 3}), last]))
    assert "The run stands at step 10 of 40" in text
    assert "effective rank ct 1.2." in text
    assert "7 samples could not be used and were replaced (2.5 % of the draws)" in text
    assert "cxr/nih was drawn 200 times over" in text


def test_a_loss_that_is_no_number_leaves_a_gap_and_is_told(write_run):
    lines = [reading(5), reading(10, loss=math.nan, loss_by_modality={"ct": math.nan, "cxr": 4.0})]
    text = render_report(write_run(lines))
    assert "The last loss is not a number" in text
    assert "nan," not in text and ",nan" not in text


def test_a_line_cut_short_by_a_kill_is_left_out(write_run, finished):
    run = write_run(finished)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 45, "slo')
    assert [line["step"] for line in read_readings(run)][-1] == 40
    render_report(run)


def test_readings_of_the_first_draft_without_causes_still_make_a_page(write_run):
    bare = {"step": 5, "slots": 140, "loss": 4.0, "loss_by_modality": {"ct": 4.0}, "elapsed_s": 1.0, "wait_s": 0.0}
    text = render_report(write_run([bare]))
    assert "The trainer never waited." in text
    assert "No queue was recorded." in text
    assert "No ledger was recorded." in text


def test_a_folder_without_readings_is_refused_and_spoils_no_run(tmp_path):
    with pytest.raises(ConfigError, match="no readings"):
        render_report(tmp_path)
    told = try_report(tmp_path)
    assert told.startswith("no report could be written")
    assert "mermed-train report" in told
    assert not (tmp_path / "report.html").exists()


def test_a_report_is_written_whole_or_not_at_all(write_run, finished, monkeypatch):
    run = write_run(finished)
    before = write_report(run).read_text("utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mermed.draft.os.replace", full)
    assert "No space left on device" in try_report(run)
    assert (run / "report.html").read_text("utf-8") == before
    assert sorted(path.name for path in run.iterdir() if path.suffix == ".tmp") == []


def test_counts_that_begin_anew_with_a_resumption_are_summed_over_sessions():
    lines = [reading(step, session=session) for step, session in ((5, 5), (10, 10), (15, 5), (20, 10))]
    assert grown(lines, "incidents") == {"retries": 40}
    assert grown(lines, "causes_s")["decode"] == pytest.approx(40.0)
    kept = [line | {"incidents": {"retries": n % 2, "replaced": n}} for n, line in enumerate(lines)]
    assert grown(kept, "incidents") == {"retries": 2, "replaced": 3}, "a ledger goes on where another count begins anew"


def test_occupancy_is_that_of_each_reading_not_the_mean_since_the_start():
    lines = [reading(5, queues=(1.0, 10)), reading(10, queues=(0.5, 20)), reading(15, queues=(0.4, 10))]
    assert [share["canvas"] for share in occupancies(lines)] == pytest.approx([1.0, 0.0, 0.4])


def test_time_and_curves_run_over_all_sessions():
    lines = [reading(5), reading(10), reading(15)]
    unit, passed = times(lines)
    assert unit == "minutes of training"
    assert passed == pytest.approx([10 / 60, 20 / 60, 30 / 60])
    assert times([reading(5, elapsed_s=5 * 3600.0)]) == ("hours of training", [5.0])
    steps, losses = zip(*curves(lines, "loss_by_modality")["ct"], strict=True)
    assert steps == (5, 10, 15)
    assert losses == pytest.approx((4.85, 4.80, 4.75))


def test_a_long_curve_is_binned_by_means_and_ends_where_it_ended():
    points = [(float(x), float(x % 2)) for x in range(10_000)]
    short = binned(points, 100)
    assert len(short) == 100
    assert short[-1] == (9999.0, 0.5)
    assert binned(points[:7], 100) == points[:7]


@pytest.mark.parametrize("ends", [(0.0, 1.0), (4.55, 4.95), (-3.0, 12_000.0), (1e-7, 3e-7), (5.0, 5.0)])
def test_ticks_are_few_round_and_inside(ends):
    ticks = round_ticks(*ends, 5)
    assert 1 <= len(ticks) <= 6
    assert all(ends[0] - 1e-9 <= tick <= ends[1] + 1e-9 for tick in ticks)
    assert len({tick_text(tick) for tick in ticks}) == len(ticks)


def test_one_point_is_a_dot_and_equal_values_are_a_line():
    assert "<circle" in curve_figure({"a": [(1.0, 2.0)]}, x_name="step", y_name="loss")
    flat = curve_figure({"a": [(1.0, 2.0), (2.0, 2.0)]}, x_name="step", y_name="loss")
    assert "<polyline" in flat and "nan" not in flat


def test_areas_stand_on_each_other():
    lower, upper = [(0.0, 1.0), (1.0, 1.0)], [(0.0, 2.0), (1.0, 2.0)]
    text = area_figure({"low": lower, "high": upper}, x_name="hours", y_name="%")
    (_, first), (_, second) = [
        (len(points), [tuple(map(float, pair.split(","))) for pair in points.split()])
        for points in re.findall(r'<polygon points="([^"]+)"', text)
    ]
    assert [y for _, y in first[:2]] == [y for _, y in reversed(second[2:])], (
        "the upper area begins where the lower ends"
    )
    assert text.index("low</span>") < text.index("high</span>")
