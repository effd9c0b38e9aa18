"""The environments of the peers: one virtual environment each, beside this project's and never inside it.

A peer is a file here or, for the views, in `crops/`. `python benchmarks/peers/environments.py [NAME ...]` makes its
environment below `benchmarks/.venvs`. Each sees the packages of the python that made it behind its own, so that torch
is not installed again; pins of the peer come first.
"""

import ast
import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PEERS = Path(__file__).resolve().parent
FOLDERS = (PEERS, PEERS.parent / "crops")
ENVIRONMENTS = PEERS.parent / ".venvs"


class NoEnvironment(Exception):
    """A peer has no environment; the message says why and what to do."""


def file_of(name: str) -> Path:
    """The file of a peer. Raises NoEnvironment."""
    for folder in FOLDERS:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    raise NoEnvironment("there is no such peer here")


def requirements_of(name: str) -> tuple[str, ...]:
    """The pins of a peer, read from its file without running it."""
    file = file_of(name)
    tree = ast.parse(file.read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["REQUIREMENTS"]:
            return tuple(ast.literal_eval(node.value))
    raise ValueError(f"{file.parent.name}/{name}.py has no REQUIREMENTS")


def python_of(name: str) -> Path:
    """The python that runs a peer: its own, or this one if it holds just the pins. Raises NoEnvironment."""
    file_of(name)
    pins = requirements_of(name)
    folder = ENVIRONMENTS / name
    if (folder / "installed.txt").is_file():
        if (folder / "installed.txt").read_text("utf-8").splitlines() == list(pins):
            return folder / "bin" / "python"
        raise NoEnvironment("its environment holds other versions: python benchmarks/peers/environments.py")
    if all(_is_here(pin) for pin in pins):
        return Path(sys.executable)
    failure = folder.with_suffix(".failed")
    if failure.is_file():
        raise NoEnvironment(f"cannot be installed: {failure.read_text('utf-8').strip()}")
    raise NoEnvironment("not installed: python benchmarks/peers/environments.py")


def _is_here(pin: str) -> bool:
    package, _, version = pin.partition("==")
    try:
        return importlib.metadata.version(package.partition("[")[0]) == version
    except importlib.metadata.PackageNotFoundError:
        return False


def install(name: str) -> str | None:
    """Make the environment of a peer from nothing; returns why that failed, or None."""
    folder, failure = ENVIRONMENTS / name, ENVIRONMENTS / f"{name}.failed"
    shutil.rmtree(folder, ignore_errors=True)
    failure.unlink(missing_ok=True)
    pins = requirements_of(name)
    if not pins:
        return None
    venv.create(folder, with_pip=False, symlinks=True)
    own = next((folder / "lib").glob("python*")) / "site-packages"
    # addsitedir, not a bare path: the .pth files over there (this project's own) must count as well
    (own / "behind.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", "utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    done = subprocess.run(
        [*command, "--quiet", "--disable-pip-version-check", "--no-input", *pins],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "pip failed")
        shutil.rmtree(folder)
        failure.write_text(reason + "\n", "utf-8")
        return reason
    (folder / "installed.txt").write_text("".join(f"{pin}\n" for pin in pins), "utf-8")
    return None


def main() -> None:
    names = sys.argv[1:] or sorted(
        path.stem
        for folder in FOLDERS
        for path in folder.glob("*.py")
        if "\nREQUIREMENTS = " in path.read_text("utf-8")
    )
    ENVIRONMENTS.mkdir(exist_ok=True)
    for name in names:
        reason = install(name)
        print(f"{name}: {reason or 'ready'}", flush=True)


if __name__ == "__main__":
    main()
