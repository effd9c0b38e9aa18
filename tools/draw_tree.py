"""Print the house, every module with what its docstring says first; with --write put it into the README."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- tree: tools/draw_tree.py -->\n```", "```\n<!-- /tree -->"
WIDTH, DEPTH = 34, 1
NOTES = {
    "pyproject.toml": "names, extras, scripts, lint rules, import contracts",
    "constraints.txt": "the versions the tests were run with",
    "Makefile": "demo, test, check, bench, bench-peers, gpu",
    ".ci/run": "what CI runs: make test",
    "CHANGELOG.md": "what changed, newest first",
    "LICENSE": "Apache-2.0",
    "shards/README.md": "the shard contract, normative",
    "shards/manifest.schema.json": "JSON schema of a manifest, made from mermed/contract.py",
    "shards/recipes/": "what 99 known datasets look like: a recipe without code and a card each",
    "shards/mixes/": "mix files: how much of each modality",
    "shards/golden/v1/": "a tiny packed collection that every future reader must read",
    "docs/pack.md": "packing: what happens to an input, many machines, choices, privacy",
    "docs/pack_faults.md": "the faults packing survives, each with the test that holds it",
    "docs/order.md": "the order of a run: slots, mixtures, shuffles, each promise with its test",
    "docs/guarantees.md": "what the stream guarantees, each sentence with its test",
    "docs/failures.md": "fifty failures of loaders, each with its test or its reason",
    "docs/loaders.md": "which loader to use: peers, figures from the records, ours in your loop",
    "docs/duplicates.md": "how copies are found, and how well, measured on real images",
    "benchmarks/README.md": "the rules of measuring and the current records",
    "benchmarks/LOG.md": "what was tried, also when it did not help",
    "benchmarks/records/": "one folder per record",
    "tests/": "promises, mirroring mermed/; real/ reads ../shared/data when it is there, gpu/ needs a GPU",
}


def docline(path: Path) -> str:
    """The first sentence of a module's docstring, without the module's own name before a colon."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    sentence = re.split(r"\. |\.$", text.splitlines()[0])[0] if text else ""
    before, colon, after = sentence.partition(": ")
    return after if colon and len(before.split()) <= 2 and len(after) > 40 else sentence


def entry(name: str, note: str, depth: int) -> str:
    """One line of the tree."""
    return f"{'  ' * depth + name:<{WIDTH}} {note}".rstrip()


def package_lines(folder: Path, depth: int = 0) -> list[str]:
    """A folder, its modules in order of name, then its folders; what lies deeper than DEPTH is one line a folder."""
    init = folder / "__init__.py"
    lines = [entry(f"{folder.name}/", docline(init) if init.exists() else NOTES.get(f"{folder.name}/", ""), depth)]
    if depth > DEPTH:
        return lines
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            lines.append(entry(path.name, docline(path), depth + 1))
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and list(path.glob("*.py"))):
        lines += package_lines(path, depth + 1)
    return lines


def noted(names: list[str], depth: int) -> list[str]:
    """Files and folders that are no Python, when they exist."""
    return [entry(name.split("/", depth)[-1], NOTES[name], depth) for name in names if (ROOT / name).exists()]


def tree() -> str:
    """The whole tree as text."""
    top = [name for name in NOTES if "/" not in name or name == ".ci/run"]
    lines = [line for name in top for line in noted([name], 0)]
    lines += ["", *package_lines(ROOT / "mermed")]
    lines += ["", entry("shards/", "what the data is: no code", 0)]
    lines += noted([name for name in NOTES if name.startswith("shards/")], 1)
    lines += ["", entry("docs/", "pages for people", 0)]
    lines += noted([name for name in NOTES if name.startswith("docs/")], 1)
    for folder in ("tools", "benchmarks"):
        lines += ["", *package_lines(ROOT / folder)]
        lines += noted([name for name in NOTES if name.startswith(f"{folder}/")], 1)
    lines += ["", entry("tests/", NOTES["tests/"], 0)]
    return "\n".join(lines)


def write_into_readme() -> None:
    """Replace the README's tree with today's."""
    path = ROOT / "README.md"
    before, rest = path.read_text("utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{tree()}\n{END}{rest.split(END, 1)[1]}", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_into_readme()
    print(tree())
