"""The frame of the loader's peers: what a child answers is true, and nobody drops out without a reason."""

import os
import random
import re
import signal
import time
from contextlib import ExitStack

import harness
import numpy as np
import pytest
from peers import environments, measure
from peers.arms import COLUMNS, Arm, Images, Lists, settle_workers, whole_rounds, worker_counts
from peers.border import FEATURES, PEERS, keyed_images
from peers.contestant import Contestant, PeerFailed, PeerMissing
from peers.decoding import decode
from peers.images import COLOUR, mean_bytes, write_images
from peers.sameness import compared, digest_of, height_width_colour
from PIL import Image

OPENING = {"batch": 4, "workers": 1, "seed": 0, "side_px": 64}


class Batches:
    """A source of given batches that remembers whether it was closed."""

    def __init__(self, *batches):
        self._batches = batches
        self.is_closed = False

    def __iter__(self):
        yield from self._batches

    def close(self):
        self.is_closed = True


def decoded(folder, keys, side_px=64):
    return np.stack([decode((folder / f"{key}.jpg").read_bytes(), side_px) for key in keys])


@pytest.fixture(scope="module")
def limit(bench_images, tmp_path_factory):
    """The lightest contestant there is, started and prepared."""
    out = tmp_path_factory.mktemp("limit") / "out"
    with Contestant("limit") as contestant:
        contestant.ask("prepare", images=str(bench_images), out=str(out))
        yield contestant, out


def test_images_are_what_the_packer_writes(bench_images):
    for key, path in keyed_images(bench_images):
        with Image.open(path) as image:
            assert image.size == (64, 64)
            assert image.mode == ("RGB" if key.partition("-")[0] in COLOUR else "L")
            assert image.mode == "L" or {entry[1:3] for entry in image.layer} == {(1, 1)}


def test_copies_share_a_picture_and_no_key(tmp_path):
    write_images(tmp_path / "images", per_modality=4, side_px=32, copies=2)
    contents = [path.read_bytes() for _, path in keyed_images(tmp_path / "images")]
    assert len(contents) == 28
    assert len(set(contents)) == 14
    assert mean_bytes(tmp_path / "images") == sum(map(len, contents)) / 28


def test_a_child_measures_rate_first_batch_cpu_and_memory(limit):
    contestant, out = limit
    answer = contestant.ask("rate", out=str(out), batches=30, memory=True, **OPENING)
    assert answer["images_per_s"] > 0
    assert answer["first_batch_s"] > 0
    assert answer["cpu_s_per_1000"] >= 0
    assert contestant.ask("rate", out=str(out), batches=2, **OPENING)["peak_mib"] is None


def test_the_limit_decodes_every_image_of_an_epoch_once(limit, bench_images):
    contestant, out = limit
    answer = contestant.ask("keys", out=str(out), batches=10, **OPENING)
    keys = [key for batch in answer["keys"] for key in batch]
    assert set(keys) <= {key for key, _ in keyed_images(bench_images)}
    assert len(set(keys)) == len(keys) == 40
    assert answer["shapes"] == [[4, 64, 64, 3]] * 10
    assert contestant.ask("check", out=str(out), images=str(bench_images), batches=5, **OPENING) == {
        "mean_levels": 0.0,
        "max_levels": 0,
        "images": 20,
    }


def test_what_a_peer_raises_reaches_its_parent_and_the_child_lives_on(limit):
    contestant, out = limit
    with pytest.raises(PeerFailed, match="NotImplementedError: the limit is no loader"):
        contestant.ask("keys", out=str(out), batches=1, want_state=True, **OPENING)
    assert contestant.ask("keys", out=str(out), batches=1, **OPENING)["ended"] is False


def test_a_child_that_dies_or_hangs_is_a_failure_with_words(limit):
    _, out = limit
    with Contestant("limit") as dying:
        os.kill(dying.pid, signal.SIGKILL)
        with pytest.raises(PeerFailed, match="died"):
            dying.ask("keys", out=str(out), batches=1, **OPENING)
    with Contestant("limit") as hanging:
        os.kill(hanging.pid, signal.SIGSTOP)
        with pytest.raises(PeerFailed, match="no answer within 0 s"):
            hanging.ask("keys", limit_s=0.2, out=str(out), batches=1, **OPENING)
    with pytest.raises(ProcessLookupError):
        os.kill(hanging.pid, 0)


def test_a_peer_without_an_environment_is_missing_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(environments, "requirements_of", lambda name: ("no-such-thing==1",))
    with pytest.raises(PeerMissing, match=r"not installed: python benchmarks/peers/environments\.py"):
        Contestant("grain")
    (tmp_path / "grain.failed").write_text("ERROR: no wheel for this python\n")
    with pytest.raises(PeerMissing, match="cannot be installed: ERROR: no wheel for this python"):
        Contestant("grain")
    (tmp_path / "grain").mkdir()
    (tmp_path / "grain" / "installed.txt").write_text("no-such-thing==2\n")
    with pytest.raises(PeerMissing, match="other versions"):
        Contestant("grain")
    with pytest.raises(PeerMissing, match="no such peer"):
        Contestant("nobody")


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_says_what_it_needs_and_can_do(name):
    pins = environments.requirements_of(name)
    assert all(pin.count("==") == 1 for pin in pins), "pins are exact"
    text = (environments.PEERS / f"{name}.py").read_text("utf-8")
    assert 'TITLE = "' in text
    supports = re.search(r"^SUPPORTS = (?:frozenset\(\{(.*)\}\)|files\.SUPPORTS \| \{(.*)\})$", text, re.MULTILINE)
    assert set(re.findall(r'"(.*?)"', supports[0])) <= FEATURES
    assert "def open(" in text
    assert "def prepare(" in text or "\nprepare = " in text


def test_lists_keep_who_is_missing_and_refuse_other_work(bench_images, tmp_path, monkeypatch):
    class Fake:
        title, supports = "fake", frozenset({"threads"})

        def __init__(self, name, env=None):
            if name == "absent":
                raise PeerMissing("not installed")

        def __enter__(self):
            return self

        def ask(self, do, **_):
            return {"mean_levels": 0.5, "max_levels": 3, "images": 8}

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("peers.arms.Contestant", Fake)
    images = Images(folder=bench_images, side_px=64, batches=1)
    with ExitStack() as closing:
        lists = Lists(tmp_path, closing)
        assert lists.enter("absent", images, prefix="large: ") is None
        assert lists.missing == {"large: absent": "not installed"}
        with pytest.raises(SystemExit, match="does other work"):
            lists.enter("fake", images)
        assert lists.enter("fake", images, levels=0.5).title == "fake"


class Scripted:
    """A contestant whose rate depends on its workers, and that fails with some of them."""

    title = "scripted"

    def __init__(self, rates):
        self._rates = rates

    def ask(self, do, *, workers, **_):
        if workers not in self._rates:
            raise PeerFailed(f"RuntimeError: {workers} workers are too many")
        return {"images_per_s": self._rates[workers], "first_batch_s": 2.0, "cpu_s_per_1000": 3.0, "peak_mib": 100.0}


def scripted_arm(tmp_path, rates, title="scripted"):
    return Arm(title=title, contestant=Scripted(rates), out=tmp_path, side_px=64, batches=2, workers=1)


def test_each_arm_gets_the_workers_that_served_it_best(tmp_path, monkeypatch):
    monkeypatch.setattr("peers.arms.cores", lambda: 2)
    assert worker_counts() == [1, 2, 3]
    many, few = (
        scripted_arm(tmp_path, {1: 5.0, 2: 7.0, 3: 9.0}, "many"),
        scripted_arm(tmp_path, {1: 8.0, 2: 6.0}, "few"),
    )
    settle_workers([many, few], 3)
    assert (many.workers, few.workers) == (3, 1)


def test_the_warm_up_watches_memory_and_the_rounds_watch_time(tmp_path):
    arm = scripted_arm(tmp_path, {1: 5.0})
    assert [arm.rate(), arm.rate(), arm.rate()] == [5.0] * 3
    assert {name: len(values) for name, values in arm.measured.items()} == {
        "peak_mib": 1,
        "first_batch_s": 2,
        "cpu_s_per_1000": 2,
    }
    assert [arm.column(name) for name in COLUMNS] == [1.0, 2.0, 3.0, 100.0]


def test_an_arm_that_fails_in_a_round_is_missing_and_never_asked_again(tmp_path):
    good, bad = scripted_arm(tmp_path, {1: 5.0}, "good"), scripted_arm(tmp_path, {}, "bad")
    with ExitStack() as closing:
        lists = Lists(tmp_path, closing)
        assert np.isnan([bad.rate(), bad.rate()]).all()
        assert good.rate() == 5.0
        assert lists.drop_failed([good, bad]) == [good]
    assert lists.missing == {"bad": "failed while it was measured: RuntimeError: 1 workers are too many"}


def test_rate_leaves_the_first_batch_out_and_closes_the_source():
    class Slow(Batches):
        def __iter__(self):
            time.sleep(0.3)
            for batch in super().__iter__():
                yield batch
                time.sleep(0.01)

    source = Slow(*[(None, ["a", "b"])] * 11)
    answer = measure.rate(lambda: source, 10)
    assert answer["first_batch_s"] >= 0.3
    assert 0 < answer["images_per_s"] <= 20 / 0.1
    assert source.is_closed
    short = Batches((None, ["a"]))
    with pytest.raises(EOFError, match="ended after 1 batches"):
        measure.rate(lambda: short, 1)
    assert short.is_closed


def test_a_changed_pixel_an_order_and_a_key_are_seen(bench_images):
    keys = [key for key, _ in keyed_images(bench_images)[:4]]
    pixels = decoded(bench_images, keys)
    same = compared(Batches((pixels, keys)), bench_images, 1, 64)
    assert same == {"mean_levels": 0.0, "max_levels": 0, "images": 4}
    changed = pixels.copy()
    changed[1, 5, 5, 0] ^= 16
    assert compared(Batches((changed, keys)), bench_images, 1, 64)["max_levels"] == 16
    assert compared(Batches((pixels[::-1], keys)), bench_images, 1, 64)["mean_levels"] > 1
    digests = [
        digest_of(Batches(batch), 1)
        for batch in ((pixels, keys), (changed, keys), (pixels, keys[::-1]), (pixels, keys))
    ]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


def test_planes_and_smaller_images_on_canvases_are_compared_too(bench_images):
    keys = [key for key, _ in keyed_images(bench_images)[:3]]
    small = decoded(bench_images, keys, 32)
    canvases = np.zeros((3, 3, 64, 64), np.uint8)
    canvases[:, :, :32, :32] = small.transpose(0, 3, 1, 2)
    assert compared(Batches((canvases, keys, [(32, 32)] * 3)), bench_images, 1, 64)["max_levels"] == 0
    with pytest.raises(TypeError, match="uint8"):
        height_width_colour(canvases.astype(np.float32))


@pytest.mark.parametrize(("batches", "workers", "expected"), [(60, 2, 60), (60, 7, 63), (1, 3, 3)])
def test_a_measurement_takes_whole_rounds_of_its_workers(batches, workers, expected):
    assert whole_rounds(batches, workers) == expected


def test_rounds_in_random_order_measure_everyone_once_a_round():
    called = []
    contestants = {name: (lambda name=name: called.append(name) or float(len(called))) for name in "abc"}
    figures = harness.compare(contestants, 5, order=random.Random(0))
    rounds = [tuple(called[start : start + 3]) for start in range(0, 18, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 1
    assert {len(figure.values) for figure in figures.values()} == {5}
