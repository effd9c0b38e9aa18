"""The house keeps its rules: sizes, docstrings, light imports, settings that are read, a README tree that is true."""

import ast
import importlib.util
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import mermed
from mermed.config import RunConfig

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "mermed").rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 60
EXECUTING = {"pickle", "subprocess", "shelve", "marshal"}
HEAVY = ("torch", "torchvision", "timm", "kornia", "sklearn", "nvidia")


def load_tool(name):
    """Import tools/<name>.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _functions(path):
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_are_small_and_documented(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= MAX_FILE_LINES
    assert ast.get_docstring(ast.parse(text)), "a module says what it is"
    assert "from __future__" not in text
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    for function in _functions(path):
        lines = function.end_lineno - function.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, f"{function.name} has {lines} lines"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


def test_functions_are_short_on_the_whole():
    lengths = sorted(f.end_lineno - f.lineno + 1 for path in MODULES for f in _functions(path))
    assert lengths[len(lengths) // 2] <= 12
    assert lengths[len(lengths) * 9 // 10] <= 36


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_executes_data(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            module = getattr(node, "module", None) or ""
            if (module, names) != ("pickle", {"UnpicklingError"}):  # an error's name loads nothing
                assert not EXECUTING & {name.split(".")[0] for name in {*names, module}}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "torch":
                assert any(k.arg == "weights_only" and k.value.value is True for k in node.keywords)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}


def _imported_by(program):
    listing = f"{program}\nimport sys; print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()


HELP = """from click.testing import CliRunner
from mermed.cli.{0} import main
assert CliRunner().invoke(main, {1}).exit_code == 0"""


@pytest.mark.parametrize(
    "program",
    ["import mermed", "import mermed.stream.order.plan, mermed.pack.packing, mermed.pack.checks.verify"]
    + [HELP.format(command, "['--help']") for command in ("shard", "train", "eval")],
)
def test_light_parts_load_no_heavy_library(program):
    assert _imported_by(program) == []


def test_the_light_import_test_can_fail():
    assert "torch" in _imported_by("import mermed.batch")


def test_plan_prints_without_torch(collection):
    arguments = f"['plan', 'smoke', '--shards', {str(collection)!r}, '--json']"
    assert _imported_by(HELP.format("train", arguments)) == []


def _settings(cls=RunConfig):
    for known in fields(cls):
        if is_dataclass(known.type):
            yield from _settings(known.type)
        else:
            yield known.name


def test_every_setting_is_read_somewhere():
    source = "\n".join(p.read_text("utf-8") for p in MODULES if p.name not in {"config.py", "presets.py"})
    unread = [name for name in _settings() if not re.search(rf"\.{name}\b", source)]
    assert unread == []


def test_the_readme_shows_the_house_as_it_is():
    readme = (ROOT / "README.md").read_text("utf-8")
    draw_tree = load_tool("draw_tree")
    begin, end = readme.index(draw_tree.BEGIN) + len(draw_tree.BEGIN), readme.index(draw_tree.END)
    assert readme[begin:end].strip("\n") == draw_tree.tree().strip("\n")


def test_every_file_the_readme_links_to_exists():
    readme = (ROOT / "README.md").read_text("utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in link]
    assert links
    assert [link for link in links if link and not (ROOT / link).exists()] == []


def test_every_test_that_a_page_names_exists():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {name for page in pages for name in re.findall(r"`([\w/]+\.py(?:::\w+)?)`", page.read_text("utf-8"))}
    tests = {name for name in named if name.split("/")[-1].startswith("test_")}
    assert len(tests) > 40
    for name in sorted(tests):
        file, _, function = name.partition("::")
        text = (ROOT / "tests" / file).read_text("utf-8")
        assert not function or re.search(rf"^ *def {function}\(", text, re.MULTILINE), name


def test_no_text_names_a_registry_or_a_path_of_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    forbidden = re.compile(r"/work/(main|shared)|/root/|https?://[^ )\"']*(pypi|files\.pythonhosted)")
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".csv", ".yml"} and name != "tests/test_house.py":
            assert not forbidden.search(path.read_text("utf-8")), name


def test_the_version_has_an_entry_in_the_changelog():
    assert f"## {mermed.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
