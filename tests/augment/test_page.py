"""The page about views shows the tables of the code."""

import importlib.util
from pathlib import Path

from mermed.augment.extra import EXTRAS
from mermed.augment.policy import policy_for
from mermed.contract import MODALITIES

ROOT = Path(__file__).resolve().parent.parent.parent


def policy_page():
    spec = importlib.util.spec_from_file_location("policy_page", ROOT / "tools" / "policy_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_policies_and_extras_as_they_are():
    tool = policy_page()
    page = (ROOT / "docs" / "augment.md").read_text("utf-8")
    begin, end = page.index(tool.BEGIN) + len(tool.BEGIN), page.index(tool.END)
    assert page[begin:end].strip() == tool.block(), "tools/policy_page.py --write"


def test_the_tables_hold_every_policy_and_every_extra():
    tool = policy_page()
    block = tool.block()
    assert all(f"`{extra.name}`" in block for extra in EXTRAS)
    assert all(policy_for("medical", name).reason in block for name in MODALITIES)
    for preset in tool.GENERAL:
        assert len({policy_for(preset, name) for name in MODALITIES}) == 1, preset


def test_values_are_written_so_that_they_can_be_read():
    assert list(map(policy_page().shown, ((0.2, 1.0), (1.0, 0.1, 0.5), 0.05, True, "black"))) == [
        "0.2 to 1",
        "1 / 0.1 / 0.5",
        "0.05",
        "yes",
        "black",
    ]
