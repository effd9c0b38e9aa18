"""The memory loss as attention against the same formula with all logits materialised: time and peak memory."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from harness import Options, Ratio, Report, compare, main, peak_bytes, seconds
from torch import Tensor
from torch.nn import functional

from mermed.train.losses import memory_loss

NUM_MODALITIES = 7
BARS = {"cpu": (2.0, 0.25), "cuda": (5.0, 0.1)}
SAME_LOSS = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Axes of the inputs, as in METHOD."""

    batch: int
    rows: int
    num_blocks: int
    views: int = 12
    num_global: int = 2
    dim: int = 256


SIZES = {
    ("cpu", True): Size(batch=28, rows=16_384, num_blocks=4),
    ("cpu", False): Size(batch=64, rows=65_536, num_blocks=4),
    ("cuda", True): Size(batch=128, rows=131_072, num_blocks=8),
    ("cuda", False): Size(batch=128, rows=131_072, num_blocks=8),
}


def whole_logits(
    student: Tensor,
    teacher: Tensor,
    keys: Tensor,
    row_modality: Tensor,
    modality: Tensor,
    *,
    permutation: Tensor,
    num_blocks: int,
    student_temp: float,
    teacher_temp: float,
    gate: bool,
) -> tuple[Tensor, Tensor]:
    """log p [views batch blocks block] and q [global batch blocks block] of the plain formula."""
    rows, labels = keys[permutation], row_modality[permutation]
    admissible = labels.expand(len(modality), -1) >= 0
    if gate:
        admissible = admissible & (labels == modality[:, None])
    student_logits = (student @ rows.T / student_temp).masked_fill(~admissible, -1e30)
    with torch.no_grad():
        teacher_logits = (teacher @ rows.T / teacher_temp).masked_fill(~admissible, -1e30)
        q = teacher_logits.unflatten(-1, (num_blocks, -1)).softmax(-1)
    return student_logits.unflatten(-1, (num_blocks, -1)).log_softmax(-1), q


def pair_loop(student: Tensor, teacher: Tensor, *queue: Tensor, **settings: object) -> Tensor:
    """The plain formula as it is written: one term per pair of views."""
    log_p, q = whole_logits(student, teacher, *queue, **settings)  # type: ignore[arg-type]
    pairs = [(g, v) for g in range(len(q)) for v in range(len(log_p)) if v != g]
    return torch.stack([-(q[g] * log_p[v]).sum(-1).mean() for g, v in pairs]).mean()


def pairs_at_once(student: Tensor, teacher: Tensor, *queue: Tensor, **settings: object) -> Tensor:
    """The plain formula with all pairs of an image in one matrix product: the strongest materialised form we found."""
    log_p, q = whole_logits(student, teacher, *queue, **settings)  # type: ignore[arg-type]
    # Per image and block first: one product over all of them would lose three digits in float32.
    terms = -torch.einsum("gbjs,vbjs->bjgv", q, log_p).mean((0, 1))
    return (terms.sum() - terms.diagonal().sum()) / (len(q) * len(log_p) - len(q))


FORMS: dict[str, Callable[..., Tensor]] = {
    "ours": memory_loss,
    "pair_loop": pair_loop,
    "pairs_at_once": pairs_at_once,
}


def inputs_of(size: Size, device: str) -> tuple[list[Tensor], dict[str, object]]:
    """Unit embeddings around a centre per modality, a full balanced queue."""
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    centres = unit(NUM_MODALITIES, size.dim)
    modality = torch.arange(size.batch) % NUM_MODALITIES
    row_modality = torch.arange(size.rows) % NUM_MODALITIES
    student = functional.normalize(centres[modality] + unit(size.views, size.batch, size.dim), dim=-1)
    teacher = functional.normalize(centres[modality] + unit(size.num_global, size.batch, size.dim), dim=-1)
    keys = functional.normalize(centres[row_modality] + unit(size.rows, size.dim), dim=-1)
    settings = {
        "permutation": torch.randperm(size.rows, generator=generator).to(device),
        "num_blocks": size.num_blocks,
        "student_temp": 0.1,
        "teacher_temp": 0.05,
    }
    tensors = [tensor.to(device) for tensor in (student, teacher, keys, row_modality, modality)]
    return [tensors[0].requires_grad_(), *tensors[1:]], settings


def step_of(form: Callable[..., Tensor], size: Size, device: str, gate: bool) -> Callable[[], Tensor]:
    """A callable that computes the loss and its gradient once and returns the loss."""
    tensors, settings = inputs_of(size, device)

    def step() -> Tensor:
        tensors[0].grad = None
        loss = form(*tensors, **settings, gate=gate)
        loss.backward()
        return loss.detach()

    return step


def run(options: Options) -> Report:
    """Compare ours with the faster (for time) and the leaner (for memory) of two materialised forms."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = SIZES[device, options.quick]
    steps = {
        f"{name}{suffix}": step_of(form, size, device, gate)
        for gate, suffix in ((True, ""), (False, "_ungated"))
        for name, form in FORMS.items()
    }
    for suffix in ("", "_ungated"):
        losses = [steps[f"{name}{suffix}"]().item() for name in FORMS]
        if max(losses) - min(losses) > SAME_LOSS:
            raise RuntimeError(f"the contestants do not compute the same loss: {losses}")
    settle = torch.cuda.synchronize if device == "cuda" else lambda: None
    figures = compare({name: seconds(step, settle) for name, step in steps.items()}, options.rounds)
    held = {name: peak_bytes(step, device) for name, step in steps.items()}
    time_bar, memory_bar = BARS[device]
    ratios = {}
    for suffix in ("", "_ungated"):
        plain = [f"{name}{suffix}" for name in FORMS if name != "ours"]
        fastest = min(figures[name].median for name in plain)
        leanest = min(held[name] for name in plain)
        bars = (None, None) if suffix else (time_bar, memory_bar)
        ratios[f"ours_over_materialised{suffix}"] = Ratio(value=fastest / figures[f"ours{suffix}"].median, bar=bars[0])
        ratios[f"memory_ours_over_materialised{suffix}"] = Ratio(
            value=held[f"ours{suffix}"] / leanest, bar=bars[1], lower_is_better=True
        )
    notes = tuple(f"peak memory of {name}: {peak / 2**20:.1f} MiB" for name, peak in held.items())
    return Report(
        bench="bench_queue",
        unit="seconds per loss and gradient",
        figures=figures,
        ratios=ratios,
        settings={**asdict(size), "device": device, "dtype": "float32", "peak_bytes": held},
        notes=notes,
    )


if __name__ == "__main__":
    main(run)
