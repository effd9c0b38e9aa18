"""Student and teacher: two networks of one shape; the student learns, the teacher is its moving average."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mermed.batch import CropBatch
from mermed.config import ModelConfig
from mermed.model.encoder import build_encoder, class_token
from mermed.model.head import ProjectionHead, synchronise_batch_norm
from mermed.model.weights import InitReport, load_init


class Network(nn.Module):
    """An encoder and its head; one forward embeds all views, so data parallelism can wrap it."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(
        self,
        global_crops: Float[Tensor, "global batch 3 global_side global_side"],
        local_crops: Float[Tensor, "local batch 3 local_side local_side"] | None = None,
    ) -> Float[Tensor, "views batch dim"]:
        """Embed every view, the global ones first: one encoder call per view size, one head call over all views.

        The head's batch normalisation so sees all views of the batch together.
        """
        batch = global_crops.shape[1]
        groups = [global_crops]
        if local_crops is not None and len(local_crops):
            groups.append(local_crops)
        # (global, batch, ...) and (local, batch, ...) -> (views * batch, width)
        tokens = torch.cat([class_token(self.encoder, crops.flatten(0, 1)) for crops in groups])
        embeddings = self.head(tokens)
        # (views * batch, dim) -> (views, batch, dim)
        return embeddings.unflatten(0, (-1, batch))


class StudentTeacher(nn.Module):
    """The student, and the teacher that starts as its exact copy and follows it as a moving average.

    The teacher has no stochastic depth and no gradient. It stays in train mode: the batch normalisation of its head
    uses the statistics of its own batch, and its running statistics are not averaged with the student's (METHOD).
    """

    def __init__(self, student: Network, teacher: Network) -> None:
        super().__init__()
        teacher.load_state_dict(student.state_dict())
        self.student = student
        self.teacher = teacher.requires_grad_(False)

    def embed_student(self, crops: CropBatch) -> Float[Tensor, "views batch dim"]:
        """The student's embedding of every view, the global ones first, with gradient."""
        return self.student(crops.global_crops, crops.local_crops)

    @torch.no_grad()
    def embed_teacher(self, crops: CropBatch) -> Float[Tensor, "global batch dim"]:
        """The teacher's embedding of the global views, without gradient."""
        return self.teacher(crops.global_crops)

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """teacher = momentum * teacher + (1 - momentum) * student, for parameters only, not for buffers."""
        averaged: list[Tensor] = list(self.teacher.parameters())
        newest: list[Tensor] = list(self.student.parameters())
        torch._foreach_lerp_(averaged, newest, 1.0 - momentum)  # type: ignore[attr-defined]


def build_student_teacher(config: ModelConfig, image_px: int, seed: int) -> tuple[StudentTeacher, InitReport | None]:
    """Build both networks on the CPU for global views of `image_px`; weights depend on `config` and `seed` alone.

    Loads `config.init` into the encoder when it names a file, and reports what was loaded. Where several ranks hold a
    GPU each, the head's batch normalisation is synchronised. Raises ConfigError as `build_encoder` and `load_init` do.
    """
    student = _build_network(config, image_px, drop_path=config.drop_path, seed=seed)
    report = load_init(student.encoder, Path(config.init)) if config.init else None
    teacher = _build_network(config, image_px, drop_path=0.0, seed=seed)
    return StudentTeacher(student, teacher), report


def _build_network(config: ModelConfig, image_px: int, *, drop_path: float, seed: int) -> Network:
    encoder = build_encoder(config, image_px, drop_path=drop_path, seed=seed)
    width: int = encoder.embed_dim  # type: ignore[assignment]
    head = ProjectionHead(width, config.head_hidden, config.embedding, batch_norm=config.head_batch_norm, seed=seed)
    return Network(encoder, synchronise_batch_norm(head))
