"""The bare page of a report: HTML building blocks, its style, and the rule that nothing is ever loaded from outside."""

from collections.abc import Sequence
from html import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --ink: #1d2128; --soft: #626a77; --page: #ffffff; --panel: #f4f6f9; --line: #d8dde5;
  --good: #1c7d4d; --bad: #b3332c; --accent: #2f7fd6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa3b1; --page: #14171c; --panel: #1d2128;
  --line: #343b46; --good: #5cc78e; --bad: #f0827b; --accent: #6aaaf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 1.5rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .75rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; }
.verdict { font-size: 1.1rem; border-left: 4px solid var(--accent); background: var(--panel); padding: .8rem 1rem; }
.soft { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
li { margin: .35rem 0; }
code { font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; background: var(--panel); padding: .1rem .3rem;
  overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
th:first-child, td:first-child, .text td, .text th { text-align: left; }
td small { display: block; color: var(--soft); white-space: nowrap; }
.badge { display: inline-block; border: 1px solid var(--line); border-radius: 3px; padding: 0 .35rem; font-size: 12px;
  color: var(--soft); margin: .1rem .2rem .1rem 0; }
.badge.bad { border-color: var(--bad); color: var(--bad); }
svg { width: 100%; min-width: 700px; height: auto; display: block; }
details { margin: .4rem 0; border-top: 1px solid var(--line); padding-top: .4rem; }
summary { cursor: pointer; font-weight: 600; }
@media print { details > * { display: block; } body { max-width: none; } }
"""


def page(title: str, body: str, style: str = "") -> str:
    """A whole HTML document that loads nothing: its own policy forbids every request. `style` adds to the house's."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what follows it."""
    return "\n".join([f"<h2>{escape(title)}</h2>", *parts])


def paragraph(text: str, style: str = "") -> str:
    """Plain text as one paragraph."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], style: str = "") -> str:
    """A table; `head` is plain text, the cells of `rows` are HTML."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table class="{style}"><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def figure(svg: str) -> str:
    """An SVG that scrolls sideways where the page is narrower than it can be read."""
    return f'<div class="wide">{svg}</div>'


def badge(text: str, reason: str = "", style: str = "") -> str:
    """A small label with its reason as the tooltip."""
    return f'<span class="badge {style}" title="{escape(reason)}">{escape(text)}</span>'
