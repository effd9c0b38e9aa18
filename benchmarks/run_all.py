"""Run every benchmark, one after the other, and print their JSON lines together last."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    lines, failed = [], []
    for bench in sorted(HERE.glob("bench_*.py")):
        done = subprocess.run(
            [sys.executable, str(bench), *sys.argv[1:]], stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout, flush=True)
        if done.returncode:
            failed.append(bench.stem)
        else:
            lines.append(done.stdout.splitlines()[-1])
    print("\n".join(lines))
    sys.exit(f"failed: {' '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
