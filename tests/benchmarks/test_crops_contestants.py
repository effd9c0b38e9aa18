"""The bench of the views: every contestant makes the views it is measured for, nobody drops out without a reason."""

import re
from contextlib import ExitStack
from types import SimpleNamespace

import bench_crops
import bench_decode
import numpy as np
import pytest
import torch
from crops import child, entrants, floors, kornia_documented, measure, ours, released, step, torchvision_v2
from crops.border import OTHERS
from crops.entrants import Entrants
from crops.work import NUM_GLOBAL, SIDES_PX, read_work
from peers import environments
from peers.contestant import PeerFailed


@pytest.fixture(scope="module")
def work(bench_images):
    """Seven images of 64 px, one of each modality."""
    return read_work(bench_images, 7, "cpu")


@pytest.fixture(scope="module")
def our_views(work):
    return ours.views_of(ours.build_reference(work)[1](ours.draws_of(work)))


@pytest.fixture
def entered(work, bench_images):
    with ExitStack() as closing:
        yield Entrants(work, bench_images, least_s=0.01, closing=closing)


def views_like(work, value):
    return [np.full((len(work), 3, side_px, side_px), value, np.float32) for side_px in SIDES_PX]


def test_a_batch_holds_every_modality_once_before_any_twice(work, bench_images):
    assert sorted(work.modality) == list(range(7))
    assert work.pixels.shape == (7, 64, 64, 3)
    twice = read_work(bench_images, 14, "cpu")
    assert np.bincount(twice.modality).tolist() == [2] * 7
    with pytest.raises(ValueError, match="100 images were asked for, 42 are there"):
        read_work(bench_images, 100, "cpu")


@pytest.mark.parametrize("name", OTHERS)
def test_every_contestant_says_what_it_needs_and_where_it_runs(name):
    assert all(pin.count("==") == 1 for pin in environments.requirements_of(name)), "pins are exact"
    text = environments.file_of(name).read_text("utf-8")
    supports = re.search(r"^SUPPORTS = frozenset\(\{(.*)\}\)$", text, re.MULTILINE)
    assert supports and set(re.findall(r'"(.*?)"', supports[1])) <= {"cpu", "cuda"}
    assert re.search(r'^TITLE = ".+"$', text, re.MULTILINE)
    assert re.search(r'^LEAVES_OUT = ".*"$', text, re.MULTILINE)


@pytest.mark.parametrize("module", [released, torchvision_v2, kornia_documented])
def test_a_contestant_makes_twelve_new_views_of_every_image_at_each_call(module, work, our_views):
    make = module.build(work)
    first, second = make(), make()
    found, like = measure.described(first, work), measure.described(our_views, work)
    assert abs(found["mean"] - like["mean"]) < entrants.FAR_LEVELS
    assert abs(found["spread"] - like["spread"]) < entrants.FAR_LEVELS
    assert measure.differences(first, second, work)["mean"] > 1


def test_the_released_chain_turns_the_whole_image_and_blackens_what_it_uncovers(work):
    white = SimpleNamespace(**{name: getattr(work, name) for name in ("policy", "mean", "std", "scale", "blur_p")})
    white.images = lambda: [released.Image.new("RGB", (64, 64), "white")] * 30
    views = released.build(white)()
    darkest = [measure.grey_levels([view], work)[0].min() for view in views]
    assert min(darkest) < 1
    # brightness of a view goes no lower than 0.8, so what is darker was uncovered by a turn
    inside = np.mean([(measure.grey_levels([view], work)[0] > 0.75 * 255).mean() for view in views])
    assert 0.8 < inside < 1


def test_a_contestant_in_a_child_answers_what_one_here_answers(bench_images, monkeypatch):
    monkeypatch.setattr(child, "_one_thread", lambda: None)
    commands = child.Commands(torchvision_v2)
    with pytest.raises(RuntimeError, match="begin comes first"):
        commands.turn()
    answer = commands.begin(images=str(bench_images), batch=7, least_s=0.01)
    assert set(answer["views"]) == {"mean", "spread"}
    assert answer["leaves_out"] == torchvision_v2.LEAVES_OUT
    assert commands.turn()["images_per_s"] > 0


def test_views_of_a_wrong_number_shape_or_value_are_refused(work, our_views):
    assert measure.described(our_views, work)["spread"] > 10
    with pytest.raises(ValueError, match="not the views of the batch"):
        measure.described(our_views[:-1], work)
    with pytest.raises(ValueError, match="not the views of the batch"):
        measure.described([view[:, :1] for view in our_views], work)
    broken = [view.clone() for view in our_views]
    broken[3][0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        measure.described(broken, work)


def test_differences_are_grey_levels(work):
    # one step of a channel's standard deviation is 255 times that many grey levels
    apart = measure.differences(views_like(work, 0.1), views_like(work, 0.0), work)
    assert apart["mean"] == pytest.approx(0.1 * 255 * np.mean(work.std), rel=1e-4)
    assert apart["p999"] == pytest.approx(0.1 * 255 * max(work.std), rel=1e-4)


def test_the_warm_up_finds_how_many_calls_fill_a_measurement(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(measure.time, "process_time", lambda: clock.now / 2)
    called = []

    def make():
        called.append(clock.now)
        clock.now += 0.25

    turn = measure.Turn(make, 10, least_s=0.9)
    assert turn() == {"images_per_s": 40.0, "cores": 0.5}
    assert len(called) == 1
    assert turn() == turn() == {"images_per_s": 40.0, "cores": 0.5}
    assert len(called) == 9


def test_an_engine_that_does_not_exist_is_missing_and_one_that_differs_ends_the_run(entered, monkeypatch):
    entered.enter_engine("nobody", "ours: nobody")
    assert entered.missing == {"ours: nobody": "no such augmentation engine"}
    entered.enter_engine(entered.reference, "ours: reference")
    assert entered.apart["ours: reference"] == {"mean": 0.0, "p999": 0.0}
    assert entered.turns["ours: reference"]() > 0
    real = ours.build_engine

    def shifted(work, name):
        engine = real(work, name)

        def run(draws):
            crops = engine(draws)
            crops.local_crops.add_(0.2)
            return crops

        return run

    monkeypatch.setattr(ours, "build_engine", shifted)
    with pytest.raises(SystemExit, match="makes other views than kornia"):
        entered.enter_engine(entered.reference, "ours: shifted")


def test_a_contestant_is_missing_where_it_cannot_run_and_ends_the_run_where_it_does_other_work(entered, monkeypatch):
    def contestant(value, supports=frozenset({"cpu"})):
        make = lambda: views_like(entered._work, value)  # noqa: E731
        module = SimpleNamespace(TITLE="made up", SUPPORTS=supports, LEAVES_OUT="", build=lambda work: make)
        monkeypatch.setattr(entrants.importlib, "import_module", lambda name: module)

    contestant(0.0, supports=frozenset({"cuda"}))
    entered.enter_other("released")
    assert entered.missing == {"released": "does not run on cpu here"}
    contestant(-2.0)
    with pytest.raises(SystemExit, match="made up: mean of its views is"):
        entered.enter_other("released")
    assert not entered.turns


def test_a_contestant_that_fails_in_a_round_is_missing_and_never_asked_again(entered):
    def fail():
        raise PeerFailed("RuntimeError: no more")

    entered._add("bad", fail)
    entered.enter_work("good", lambda: None)
    assert np.isnan([entered.turns["bad"](), entered.turns["bad"]()]).all()
    assert entered.turns["good"]() > 0
    entered.drop_failed()
    assert list(entered.turns) == ["good"]
    assert entered.missing == {"bad": "failed while it was measured: RuntimeError: no more"}
    assert list(entered.cores()) == ["good"]


def test_the_floor_moves_a_canvas_in_and_the_views_out(work):
    # 64 x 64 in 8 bits; 2 of 224 and 10 of 96 in 4 bytes
    assert floors.bytes_of(work) == 3 * 64**2 + 4 * 3 * (2 * 224**2 + 10 * 96**2)
    assert SIDES_PX[:NUM_GLOBAL] == (224, 224)


def test_ratios_are_taken_where_both_sides_were_measured():
    rates = {"ours: cpu": 280.0, bench_crops.RELEASED: 35.0}
    ratios = bench_crops.cpu_ratios(rates)
    assert {name: ratio.value for name, ratio in ratios.items()} == {"cpu_over_released": 8.0}
    assert ratios["cpu_over_released"].passes
    assert bench_crops.cpu_ratios({bench_crops.RELEASED: 35.0, bench_crops.DALI: 20.0}) == {}


def test_titles_that_ratios_are_taken_of_are_those_of_the_contestants():
    titles = {
        re.search(r'^TITLE = "(.+)"$', environments.file_of(name).read_text(), re.MULTILINE)[1] for name in OTHERS
    }
    assert {bench_crops.RELEASED, bench_crops.DALI, bench_crops.KORNIA} <= titles


def test_a_decoder_that_makes_other_canvases_ends_the_run(bench_images, monkeypatch):
    monkeypatch.setattr(bench_decode, "CANVAS_PX", 32)
    encoded = [path.read_bytes() for path in sorted(bench_images.iterdir())[:4]]
    canvases = torch.from_numpy(bench_decode.expected_of(encoded).copy())
    assert bench_decode.check_same("fine", canvases.permute(0, 3, 1, 2), encoded, 0.0) == 0
    with pytest.raises(SystemExit, match=r"other makes other canvases: 4\.00 grey levels"):
        bench_decode.check_same("other", canvases ^ 4, encoded, 1.0)


@pytest.mark.parametrize(("kind", "side_px"), [("canvas", 64), ("large", 128)])
def test_every_decoder_of_the_cpu_makes_the_same_canvases(tmp_path, monkeypatch, kind, side_px):
    monkeypatch.setattr(bench_decode, "CANVAS_PX", 64)
    monkeypatch.setattr(bench_decode, "SETS", {kind: side_px})
    encoded = bench_decode.read_set(tmp_path / "images", side_px, 7)
    entrants = bench_decode.Entrants(device="cpu", least_s=0.01)
    entrants.enter(kind, encoded)
    assert {title for title, reason in entrants.missing.items() if reason == "there is no GPU here"} == {
        f"{kind}: GPU: torchvision",
        f"{kind}: GPU: DALI mixed",
    }
    assert all(distance <= bench_decode.SAME_LEVELS[kind] for distance in entrants.apart.values())
    assert entrants.turns[f"{kind}: {bench_decode.OURS}"]() > 0
    assert bench_decode.ratios_of({f"{kind}: {bench_decode.OURS}": 5.0}) == {}
    assert (
        bench_decode.ratios_of({f"{kind}: {bench_decode.OURS}": 5.0, f"{kind}: GPU: torchvision": 10.0})[
            f"{kind}_gpu_over_threads"
        ].value
        == 2
    )


def test_the_step_trains_the_student_on_all_views_and_the_teacher_on_none(our_views):
    one = step.EncoderStep([view[:1] for view in our_views], "vit_tiny_patch16_224")
    assert torch.isfinite(one())
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in one._student.blocks.parameters())
    assert not any(weight.requires_grad for weight in one._teacher.parameters())
    assert [len(group) for group in one._groups] == [2, 10]


def test_on_a_gpu_the_faster_form_of_the_engine_is_held_against_kornia_and_the_step(work, monkeypatch):
    seconds = iter([0.004, 0.002, 0.1])
    monkeypatch.setattr(step, "device_seconds", lambda call, times: call() and next(seconds))
    monkeypatch.setattr(step, "host_syncs", lambda call: 0)
    monkeypatch.setattr(step, "EncoderStep", lambda views: lambda: len(views) == 12)
    engine = ours.build_reference(work)[1]
    plain, compiled = bench_crops.TITLES["torch"], bench_crops.TITLES[ours.COMPILED]
    rates = {plain: 30_000.0, compiled: 50_000.0, bench_crops.KORNIA: 2_000.0}
    ratios, columns = bench_crops.gpu_ratios(rates, {plain: engine, compiled: engine}, work, 3)
    assert {name: ratio.value for name, ratio in ratios.items()} == {
        "torch_over_kornia": 25.0,
        "crops_share_of_step": 0.02,
        "host_syncs": 0,
    }
    assert all(ratio.passes for ratio in ratios.values())
    assert columns["GPU ms/batch"] == {plain: 4.0, compiled: 2.0}
    assert bench_crops.gpu_ratios({}, {}, work, 3)[0] == {}
