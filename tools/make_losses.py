"""Write tests/losses/toy_cpu.txt: the losses of twenty toy steps on the golden shards. Changes them on purpose only."""

import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mermed.config import RunConfig, with_settings
from mermed.presets import preset
from mermed.train.loop import train
from mermed.train.meters import read_metrics
from mermed.train.run import begin_folder, open_data
from mermed.world import World

ROOT = Path(__file__).resolve().parent.parent
TRACE = ROOT / "tests" / "losses" / "toy_cpu.txt"
GOLDEN = ROOT / "shards" / "golden" / "v1"
SETTINGS = [
    "model.encoder=test_vit",
    "model.head_hidden=32",
    "model.embedding=16",
    "stream.canvas_px=64",
    "augment.global_px=48",
    "augment.local_px=32",
    "augment.num_local=2",
    "queue.rows=56",
    "queue.blocks=2",
    "train.batch=14",
    "train.steps=20",
    "train.log_every=1",
    "train.checkpoint_every=20",
    "train.device=cpu",
]


def toy_config() -> RunConfig:
    """The settings of the toy run."""
    return replace(with_settings(preset("smoke"), SETTINGS), preset="toy")


def toy_losses(run: Path) -> list[float]:
    """Train the toy run in the folder `run` and return the loss of each step, in nats."""
    config = toy_config()
    data = open_data(config, GOLDEN)
    begin_folder(run, config, data)
    train(config, data, run, World(), Console(file=io.StringIO()), resume=False)
    return [line["loss"] for line in read_metrics(run)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        losses = toy_losses(Path(folder) / "run")
    remark = "# loss in nats of 20 toy steps on shards/golden/v1, CPU, fp32: tools/make_losses.py writes this file"
    TRACE.write_text("\n".join([remark, *map(repr, losses)]) + "\n", "utf-8")
    sys.stdout.write(TRACE.read_text("utf-8"))


if __name__ == "__main__":
    main()
