"""Recipe text: the small languages of recipes: globs over paths, regular expressions, templates over fields."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping

from mermed.errors import ConfigError
from mermed.pack.recipes.parse import did_you_mean

MAX_PATTERN = 500
MAX_TEXT = 1024
"""Longest pattern, and longest text a pattern is tried on: a bound on what a regular expression can cost."""

_PLACEHOLDER = re.compile(r"\{([^{}|]+)((?:\|[a-z0-9]+)*)\}")
_REPEATED_REPEAT = re.compile(r"[+*}][^()]*\)(?:[+*]|\{\d*,)")
_FILTERS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "name": lambda text: re.split(r"[/\\]", text)[-1],
    "stem": lambda text: re.split(r"[/\\]", text)[-1].rsplit(".", 1)[0],
    "number": lambda text: re.sub(r"\.0+$", "", text).lstrip("0") or ("0" if text else ""),
}


def plain(text: str) -> str:
    """A text as it is compared: NFC, so names from a Mac equal those in a table."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def compile_globs(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression that matches a whole path for any of `patterns`: * ? [..] {a,b} inside a name, **/ over folders.

    Raises ConfigError for a pattern that leads out of the dataset.
    """
    return re.compile("|".join(f"(?:{_translate(pattern)})" for pattern in patterns) or r"(?!)", re.DOTALL)


def _translate(pattern: str) -> str:
    if len(pattern) > MAX_PATTERN or pattern.startswith(("/", "~")) or "\\" in pattern or ".." in pattern.split("/"):
        raise ConfigError(
            "a pattern leads out of its dataset",
            expected="a relative glob with /, such as images/*.png",
            found=repr(pattern[:80]),
        )
    parts, depth, text = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\]|[{},])", plain(pattern)), 0, ""
    for part in parts:
        depth += (part == "{") - (part == "}")
        if part in ("**/", "**"):
            text += r"(?:[^/]+/)*" if part == "**/" else ".*"
        elif part in ("*", "?"):
            text += "[^/]*" if part == "*" else "[^/]"
        elif part.startswith("[") and len(part) > 2:
            text += "[" + part[1:-1].replace("!", "^", 1 if part[1] == "!" else 0).replace("\\", "") + "]"
        elif part in ("{", "}"):
            text += "(?:" if part == "{" else ")"
        else:
            text += "|" if part == "," and depth else re.escape(part)
    if depth:
        raise ConfigError("a pattern has a brace without its partner", found=repr(pattern))
    return text


def compile_regex(pattern: str) -> re.Pattern[str]:
    """A regular expression of a recipe; raises ConfigError for one that is wrong, too long, or may never end."""
    if len(pattern) > MAX_PATTERN or _REPEATED_REPEAT.search(pattern):
        raise ConfigError(
            "a regular expression may take for ever",
            expected=f"{MAX_PATTERN} characters at most, and no repeated group with a repeat inside",
            found=repr(pattern[:80]),
        )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError("a regular expression is wrong", expected=str(error), found=repr(pattern)) from None


def find_fields(patterns: Iterable[re.Pattern[str]], text: str) -> dict[str, str] | None:
    """The named groups of the first pattern found in `text`; None when none is, or the text is too long to try."""
    for pattern in patterns if len(text) <= MAX_TEXT else ():
        if found := pattern.search(text):
            return {name: value or "" for name, value in found.groupdict().items()}
    return None


class Template:
    """A text with fields in it: "{patient}", "{Image Index|stem}-{eye}". Filters: lower upper name stem number padN.

    A template with several fields is empty when one of its fields is: half an id would join strangers.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[tuple[str, str, tuple[Callable[[str], str], ...]]] = []
        end = 0
        for found in _PLACEHOLDER.finditer(text):
            filters = tuple(_filter(name, text) for name in found[2].split("|")[1:])
            self._parts.append((text[end : found.start()], found[1].strip(), filters))
            end = found.end()
        self._tail = text[end:]
        if any(brace in part for part in (self._tail, *(before for before, _, _ in self._parts)) for brace in "{}"):
            raise ConfigError("a template has a brace without its partner", found=repr(text))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields it takes."""
        return tuple(name for _, name, _ in self._parts)

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its fields filled in; "" when one of them is empty or absent."""
        text = ""
        for before, name, filters in self._parts:
            value = values.get(name, "")
            for change in filters:
                value = change(value)
            if not value:
                return ""
            text += before + value
        return text + self._tail

    def check(self, known: Collection[str], key: str) -> None:
        """Raise ConfigError when a field is not among `known`; `key` is where in the recipe the template stands."""
        for name in self.names:
            if name not in known:
                raise ConfigError(
                    f"'{key}' names a field that nothing gives", found=name, next_step=did_you_mean(name, sorted(known))
                )


class FirstTemplate:
    """Several templates of which the first with a value counts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._templates = [Template(text) for text in texts]

    def fill(self, values: Mapping[str, str]) -> str:
        """The text of the first template that is not empty, or ""."""
        return next((text for template in self._templates if (text := template.fill(values))), "")

    def check(self, known: Collection[str], key: str) -> None:
        """Raise ConfigError when a field of any template is not among `known`."""
        for template in self._templates:
            template.check(known, key)


def _filter(name: str, text: str) -> Callable[[str], str]:
    if name.startswith("pad") and name[3:].isdigit() and int(name[3:]) <= 64:
        width = int(name[3:])
        return lambda value: value.zfill(width) if value else ""
    if name not in _FILTERS:
        raise ConfigError(
            f"a template has an unknown filter '{name}'",
            found=repr(text),
            next_step=did_you_mean(name, [*_FILTERS, "pad8"]),
        )
    return _FILTERS[name]
