"""Print what the current records say of loaders; with --write put it into docs/loaders.md."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "loaders.md"
INDEX = ROOT / "benchmarks" / "README.md"
BEGIN, END = "<!-- records: tools/peer_table.py -->", "<!-- /records -->"
BENCHES = {
    "bench_loader": "Images per second from local shards",
    "bench_scorecard": "Correctness, found out by running each loader",
    "bench_resume": "Going on late in an epoch",
    "bench_order": "Shuffles",
}
ROWS = {
    "mixing": "worst deviation of a source from its quota in a rank's batch",
    "order": "different orders over ranks and workers",
    "mixed_order": "the same for a mixture of sources",
    "epoch": "samples twice and never in one epoch",
    "resume": "samples lost and repeated when it goes on",
    "resume_time": "time to the first batch late in an epoch, over a cold start",
    "resize": "goes on exactly with other ranks and workers",
    "damage": "one damaged image of 1,008",
    "kill_worker": "kill -9 of one worker",
    "kill_loader": "samples lost and repeated after kill -9 of the loader",
    "start": "start on an index of 10^6 rows",
}
MARKS = {True: "pass", False: "**fail**", None: ""}


def current_records() -> dict[str, list[dict]]:
    """Bench to its records that benchmarks/README.md calls current, in the order of that page."""
    records = {bench: [] for bench in BENCHES}
    for name in re.findall(r"\]\(records/([^/)]+)/README\.md\)", INDEX.read_text("utf-8")):
        record = json.loads((INDEX.parent / "records" / name / "record.json").read_text("utf-8"))
        if record["bench"] in records:
            records[record["bench"]].append(record | {"folder": name})
    return records


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def shown(value: float | str) -> str:
    """A figure with three digits, or four before the point."""
    return value if isinstance(value, str) else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"


def limit_of(name: str, medians: dict[str, float]) -> float | None:
    """The limit that a contestant is held against: the one with its own prefix, such as `large: `."""
    prefix = name.rpartition(": ")[0]
    found = (value for other, value in medians.items() if re.fullmatch(rf"{re.escape(prefix)}(: )?limit.*", other))
    return next(found, None)


def figures_table(record: dict) -> list[str]:
    """Contestants with every further column of the record; of rates the highest first within its scenario."""
    medians, columns = record["median"], record.get("columns", {})
    has_limit = any(limit_of(name, medians) for name in medians)
    heading = ["", record["unit"], *(["of the limit"] if has_limit else []), *columns]
    lines = [row(*heading), "|---" + "|--:" * (len(heading) - 1) + "|"]
    is_rate = record["unit"].endswith("/s")
    for name in sorted(medians, key=lambda name: (name.rpartition(": ")[0], -medians[name])) if is_rate else medians:
        limit = limit_of(name, medians)
        share = [f"{medians[name] / limit:.2f}" if limit else ""] if has_limit else []
        lines.append(row(name, shown(medians[name]), *share, *(shown(of.get(name, "")) for of in columns.values())))
    return lines


def scorecard_table(record: dict) -> list[str]:
    """Questions by loaders: the mark and the words of each field."""
    loaders = list(record["data"].values())
    titles = list(record["median"])
    rows = list(dict.fromkeys(name for loader in loaders for name in loader["cells"]))
    lines = [row("", *titles), "|---" * (len(titles) + 1) + "|"]
    for name in rows:
        cells = [loader["cells"].get(name, {"passes": None, "text": "not run"}) for loader in loaders]
        lines.append(row(ROWS.get(name, name), *(f"{MARKS[cell['passes']]} {cell['text']}".strip() for cell in cells)))
    lines.append(row("rows passed", *(shown(record["median"][title]) for title in titles)))
    return lines


def ratio_lines(record: dict) -> list[str]:
    """The ratios, each with its bar if it has one."""
    lines = []
    for name, value in record["ratio"].items():
        bar = record.get("bar", {}).get(name)
        lines.append(f"- `{name}` {value:g}" + ("" if bar is None else f" (bar {bar:g})"))
    return lines


def section(record: dict) -> list[str]:
    """One record: where it was made, its table, its ratios, who is missing and why."""
    around = record["environment"]
    table = scorecard_table(record) if record["bench"] == "bench_scorecard" else figures_table(record)
    missing = [f"- missing: {name} ({reason})" for name, reason in record["missing"].items()]
    link = f"../benchmarks/records/{record['folder']}/README.md"
    place = f"{around['hardware']}, {around['cores']} cores, commit {record['commit']}, {around['date']}"
    return [f"[Record]({link}): {place}, {record['n']} rounds.", "", *table, "", *ratio_lines(record), *missing, ""]


def block() -> str:
    """Everything between the markers."""
    lines: list[str] = []
    for bench, records in current_records().items():
        lines += [f"### {BENCHES[bench]}", ""]
        for record in records:
            lines += section(record)
        if not records:
            lines += [f"No record of `benchmarks/{bench}.py` yet.", ""]
    return "\n".join(lines).strip()


def write_into_page() -> None:
    """Replace the page's block with what the records give today."""
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{block()}\n\n{END}{rest.split(END, 1)[1]}", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_into_page()
    print(block())
