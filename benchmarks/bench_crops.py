"""Twelve views per image: images per second of our engines and of how others make them, of the same images.

Every contestant draws its own random numbers from the ranges of the preset `released` and makes 2 views of 224 px and
10 of 96 px of each decoded image of 512 px, in one thread. Where there is a GPU, those that run on one run there.
"""

import random
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import harness
import torch
from crops import floors, ours, released
from crops.border import OTHERS
from crops.entrants import Entrants
from crops.work import CANVAS_PX, PRESET, SIDES_PX, Work, read_work
from peers import environments, images

TITLES = {name: f"ours: {name}" for name in (*ours.ENGINES["cpu"], ours.COMPILED)}
RELEASED, DALI, KORNIA = released.TITLE, "DALI CPU graph", "Kornia (as documented)"
CPU_RATIOS = {"cpu_over_released": (RELEASED, 8.0), "cpu_over_dali_cpu": (DALI, 2.0)}
KORNIA_BAR, SHARE_BAR, SYNCS_BAR = 20.0, 0.03, 0.0
BYTES, DECODE, DRAWS = "floor: the bytes moved once", "floor: decoding", "part of ours: drawing"
SEED = 7
FULL_ROUNDS = 7


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Images in a batch, seconds of one measurement, who is left out, and timings of the step on a GPU."""

    batch: int
    least_s: float
    left_out: tuple[str, ...] = ()
    steps: int = 0


SIZES = {
    ("cpu", True): Sizes(
        batch=14, least_s=0.2, left_out=("kornia_documented", "torchvision_v2", "kornia", "torch", ours.COMPILED)
    ),
    ("cpu", False): Sizes(batch=28, least_s=2.0),
    ("cuda", True): Sizes(batch=128, least_s=0.3, steps=5),
    ("cuda", False): Sizes(batch=128, least_s=2.0, steps=15),
}


def enter_all(entrants: Entrants, work: Work, left_out: tuple[str, ...]) -> None:
    """Our engines, the others, and what none of them can beat."""
    for name in (*ours.ENGINES[work.device], ours.COMPILED):
        if name in left_out:
            entrants.missing[TITLES[name]] = "left out of a quick run"
        else:
            entrants.enter_engine(name, TITLES[name])
    for name in OTHERS:
        if name in left_out:
            entrants.missing[name] = "left out of a quick run"
        else:
            entrants.enter_other(name)
    entrants.enter_work(BYTES, floors.bytes_floor(work))
    entrants.enter_work(DRAWS, lambda: ours.draws_of(work))
    try:
        entrants.enter_work(DECODE, floors.decode_floor(work))
    except ImportError as error:
        entrants.missing[DECODE] = str(error)


def cpu_ratios(rates: Mapping[str, float]) -> dict[str, harness.Ratio]:
    """The engine for machines without a GPU over the others, where both were measured; `rates` are images/s."""
    mine = TITLES["cpu"]
    return {
        name: harness.Ratio(value=rates[mine] / rates[other], bar=bar)
        for name, (other, bar) in CPU_RATIOS.items()
        if mine in rates and other in rates
    }


def gpu_ratios(
    rates: Mapping[str, float], engines: Mapping[str, ours.Engine], work: Work, steps: int
) -> tuple[dict[str, harness.Ratio], dict[str, dict[str, float | str]]]:
    """The faster form of the torch engine against Kornia and the step; and what was counted on the way, by column."""
    from crops import step

    draws = ours.draws_of(work)
    calls: dict[str, Callable[[], object]] = {
        title: (lambda engine=engine: engine(draws)) for title, engine in engines.items()
    }
    spent = {title: step.device_seconds(call, steps) for title, call in calls.items()}
    syncs = {title: step.host_syncs(call) for title, call in calls.items()}
    columns = {
        "GPU ms/batch": {title: 1000.0 * value for title, value in spent.items()},
        "host syncs": {title: str(count) for title, count in syncs.items()},
    }
    mine = [title for title in (TITLES["torch"], TITLES[ours.COMPILED]) if title in engines]
    if not mine:
        return {}, columns
    best = max(mine, key=lambda title: rates[title])
    views = ours.views_of(engines[best](draws))
    whole_s = step.device_seconds(step.EncoderStep(views), steps)
    ratios = {
        "crops_share_of_step": harness.Ratio(value=spent[best] / whole_s, bar=SHARE_BAR, lower_is_better=True),
        "host_syncs": harness.Ratio(value=max(syncs[title] for title in mine), bar=SYNCS_BAR, lower_is_better=True),
    }
    if KORNIA in rates:
        ratios["torch_over_kornia"] = harness.Ratio(value=rates[best] / rates[KORNIA], bar=KORNIA_BAR)
    return ratios, columns


def columns_of(entrants: Entrants, rates: Mapping[str, float]) -> dict[str, dict[str, float | str]]:
    """What the table says beside images/s."""
    apart = entrants.apart
    return {
        "views/s": {title: len(SIDES_PX) * rate for title, rate in rates.items() if title in entrants.leaves_out}
        | {title: len(SIDES_PX) * rates[title] for title in apart if title in rates},
        "cores busy": dict(entrants.cores()),
        "from the reference, levels": {
            title: f"{found['mean']:.2f}, p99.9 {found['p999']:.1f}" for title, found in apart.items()
        },
    }


def bench(options: harness.Options) -> harness.Report:
    """Twelve views per image: our engines, what others use, and the floors."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = SIZES[device, options.quick]
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        folder = Path(name) / "images"
        per_modality = -(-sizes.batch // len(images.MODALITIES))
        images.write_images(folder, per_modality=per_modality, side_px=CANVAS_PX)
        work = read_work(folder, sizes.batch, device)
        entrants = Entrants(work, folder, least_s=sizes.least_s, closing=closing)
        enter_all(entrants, work, sizes.left_out)
        figures = harness.compare(entrants.turns, options.rounds, order=random.Random(SEED))
    entrants.drop_failed()
    figures = {title: figures[title] for title in entrants.turns}
    rates = {title: figure.median for title, figure in figures.items()}
    columns = columns_of(entrants, rates)
    if device == "cuda":
        ratios, counted = gpu_ratios(rates, entrants.engines, work, sizes.steps)
        columns |= counted
    else:
        ratios = cpu_ratios(rates)
    return harness.Report(
        bench="bench_crops",
        unit="images/s",
        figures=figures,
        ratios=ratios,
        settings={
            "device": device,
            "batch": len(work),
            "canvas_px": CANVAS_PX,
            "sides_px": SIDES_PX,
            "policy": PRESET,
            "reference": entrants.reference,
            "least_s": sizes.least_s,
            "bytes_per_image": floors.bytes_of(work),
            "pins": [pin for name in OTHERS for pin in environments.requirements_of(name)],
        },
        missing=entrants.missing,
        notes=tuple(f"{title} leaves out: {text}" for title, text in entrants.leaves_out.items() if text),
        columns=columns,
        data={"apart": entrants.apart},
    )


if __name__ == "__main__":
    harness.main(bench, full_rounds=FULL_ROUNDS)
