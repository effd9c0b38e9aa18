"""GPU tests and benchmarks on a machine that has torch already: one command, under nine minutes, a table last.

Benches that measure the CPU alone (packing, loading, order, resume) are left to machines without a GPU.

Where wheels lie in .gpu-wheels/small (see the README), they are installed into a folder of their own first.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS, SITE = ROOT / ".gpu-wheels" / "small", ROOT / ".gpu-wheels" / "site"
BUDGET_S, TESTS_S = 520, 180
BENCHES = {"bench_queue": 60, "bench_crops": 180, "bench_step": 180, "bench_decode": 80}
"""What measures the GPU, the most telling first, and the most seconds each may take; those that exist are run."""


def environment() -> dict[str, str]:
    """The environment of the children: our checkout, and the wheels brought along, on their path."""
    wheels = sorted(map(str, WHEELS.glob("*.whl")))
    if wheels and not SITE.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(SITE)]
        subprocess.run([*command, *wheels], check=True)
    paths = [str(SITE), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def run(command: list[str], seconds: float) -> tuple[int, str]:
    """Run a child for at most `seconds`, showing what it prints; returns its code and its last line."""
    print(f"\n== {' '.join(command)}", flush=True)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            timeout=max(seconds, 1),
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        print((late.stdout or b"").decode(errors="replace"), flush=True)
        return 124, "out of time"
    print(done.stdout, flush=True)
    lines = done.stdout.strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def main() -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit("no GPU here: nothing was tested and nothing was measured")
    deadline = time.monotonic() + BUDGET_S
    rows = []
    code, last = run([sys.executable, "-m", "pytest", "tests/gpu", "-p", "no:randomly"], TESTS_S)
    rows.append(("tests/gpu", code, last))
    for name, most_s in BENCHES.items():
        bench = ROOT / "benchmarks" / f"{name}.py"
        if not bench.is_file():
            continue
        left_s = deadline - time.monotonic()
        code, last = run([sys.executable, str(bench), "--quick", "--record"], min(most_s, left_s))
        rows.append((name, code, json.dumps(json.loads(last)["ratio"]) if code == 0 else last))
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for name, code, result in rows:
        print(f"{name:<18} {'ok' if code == 0 else f'code {code}':<9} {result}")
    sys.exit(max(code for _, code, _ in rows))


if __name__ == "__main__":
    main()
