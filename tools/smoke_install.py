"""Build the wheel, install it into an empty folder, and run the commands from there with torch out of reach."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "kornia", "sklearn", "nvidia"}:
            raise ImportError(f"{name} must not be needed here")
sys.meta_path.insert(0, NoTorch())
"""
COMMANDS = (
    ("shard", ["--help"]),
    ("train", ["--help"]),
    ("eval", ["--help"]),
    ("shard", ["phantoms", "PHANTOMS", "--images", "6"]),
)
FIND_RECIPES = """
from mermed.pack.recipes.shelf import known_recipes, recipe_folder
assert recipe_folder().parent.name == "mermed", recipe_folder()
assert "nih_chestxray14" in known_recipes()
print(len(known_recipes()))
"""


def call(*command: str, **options: object) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout  # type: ignore[call-overload]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT))
        wheel = next(folder.glob("mermed-*.whl"))
        tops = {part.split("/")[0] for part in zipfile.ZipFile(wheel).namelist()} - {
            f"{wheel.name.split('-py3')[0]}.dist-info"
        }
        assert tops == {"mermed"}, f"the wheel holds other top-level names: {tops}"
        site = folder / "site"
        call(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel))
        for module, arguments in COMMANDS:
            program = f"{BLOCK_TORCH}\nfrom mermed.cli.{module} import main\nmain()"
            environment = {**os.environ, "PYTHONPATH": str(site)}
            call(sys.executable, "-c", program, *arguments, cwd=folder, env=environment)
            print(f"mermed-{module} {' '.join(arguments)}: ok without torch")
        environment = {**os.environ, "PYTHONPATH": str(site)}
        found = call(sys.executable, "-c", BLOCK_TORCH + FIND_RECIPES, cwd=folder, env=environment)
        print(f"{found.strip()} recipes: found in the wheel")


if __name__ == "__main__":
    main()
