"""The checks of a landing: format, lint, types, import direction; with --all the install and the tests too."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

PLAIN = "--import-mode=importlib -q --strict-markers"

STATIC = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["basedpyright"],
    "imports": ["lint-imports", "--no-cache"],
}
DYNAMIC = {
    "install": ["python", "tools/smoke_install.py"],
    "tests": ["python", "-m", "pytest", "-m", "not compiled", "--durations=8"],
    # without the hook that checks shapes at every border, which a compiler cannot trace through
    "compiled": ["python", "-m", "pytest", "-m", "compiled", "-o", f"addopts={PLAIN}", "tests/augment"],
}


def run(name: str, command: list[str]) -> bool:
    """Run one check in the repository root and print how it went."""
    print(f"== {name}: {' '.join(command)}", flush=True)
    begin = time.perf_counter()
    code = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, check=False).returncode
    print(f"== {name}: {'ok' if code == 0 else f'FAILED ({code})'} in {time.perf_counter() - begin:.0f} s", flush=True)
    return code == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="also install the wheel elsewhere and run the tests")
    checks = {**STATIC, **DYNAMIC} if parser.parse_args().all else STATIC
    failed = [name for name, command in checks.items() if not run(name, command)]
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
