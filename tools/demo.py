"""The demo: phantoms -> pack -> verify -> train, killed once and resumed -> eval -> report."""

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

BIN = Path(sys.executable).parent
IMAGES_PER_MODALITY, KILL_AFTER_STEP = 120, 30


def call(*command: object, codes: tuple[int, ...] = (0,)) -> str:
    """Run one of our commands, showing it; stop the demo when it ends with another code."""
    words = [str(word) for word in command]
    print(f"\n$ {' '.join(words)}", flush=True)
    done = subprocess.run([str(BIN / words[0]), *words[1:]], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout.rstrip(), flush=True)
    if done.returncode not in codes:
        sys.exit(f"the demo stopped: {words[0]} ended with code {done.returncode}")
    return done.stdout


def train_and_kill(shards: Path, run: Path) -> int:
    """Start the training and kill it, without warning, once a checkpoint stands. Returns the last step it logged."""
    command = ["mermed-train", "run", "smoke", "--shards", str(shards), "--out", str(run)]
    print(f"\n$ {' '.join(command)}", flush=True)
    process = subprocess.Popen([str(BIN / command[0]), *command[1:]])
    while process.poll() is None and last_step(run) < KILL_AFTER_STEP:
        time.sleep(0.1)
    if process.poll() is not None:
        sys.exit(f"the demo stopped: training ended by itself with code {process.returncode}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = last_step(run)
    print(f"-- killed (SIGKILL) after step {step}", flush=True)
    return step


def last_step(run: Path) -> int:
    """The last whole line of the metrics, 0 while there is none."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    return int(json.loads(whole[-1])["step"]) if whole else 0


def quarantine_reasons(shards: Path) -> Counter[str]:
    """How many inputs were set aside, by reason."""
    with (shards / "quarantine.csv").open(newline="") as file:
        return Counter(row["reason"] for row in csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    raw, shards, run = out / "raw", out / "shards", out / "run"
    begin = time.perf_counter()
    os.environ.setdefault("COLUMNS", "120")

    call("mermed-shard", "phantoms", raw, "--images", IMAGES_PER_MODALITY, "--seed", 0)
    call("mermed-shard", "pack", raw, "--out", shards, "--salt-file", raw / "salt", "--workers", 2)
    call("mermed-shard", "verify", shards)
    call("mermed-train", "plan", "smoke", "--shards", shards)
    call("mermed-train", "views", "smoke", "--shards", shards, "--out", out / "views.png")
    killed_at = train_and_kill(shards, run)
    call("mermed-train", "resume", run)
    call("mermed-eval", "run", run, "--shards", shards, "--out", out / "eval")
    shutil.copy(out / "eval" / "report.html", out / "report.html")

    manifest = json.loads((shards / "manifest.json").read_text())
    summary = {
        "made": manifest["totals"]["inputs"],
        **manifest["totals"],
        "quarantine": dict(quarantine_reasons(shards)),
        "killed_at_step": killed_at,
        "trained_steps": last_step(run),
        "wall_s": round(time.perf_counter() - begin, 1),
        "evaluation": json.loads((out / "eval" / "summary.json").read_text()),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(f"""
made         {summary["inputs"]} inputs of seven modalities in {raw}
packed       {summary["packed"]}, duplicates {summary["duplicates"]}, excluded {summary["excluded"]}
quarantined  {summary["quarantined"]}: {", ".join(f"{n} {reason}" for reason, n in summary["quarantine"].items())}
trained      {summary["trained_steps"]} steps, killed after step {killed_at} and resumed, in {run}
measured     {len(summary["evaluation"]["tasks"])} tasks, in {out / "eval"}
took         {summary["wall_s"]} s
look at      {out / "report.html"}  {out / "views.png"}  {out / "summary.json"}""")


if __name__ == "__main__":
    main()
