"""The settings that the documentation shows are settings, and can be rendered."""

from __future__ import annotations

import re
import tomllib

import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.model.settings.groups import GENERAL, Groups
from bulkhead.render.services import render

ROOT = repository_root()
PAGES = sorted((ROOT / "docs").rglob("*.md"))
EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.M | re.S))
    if "[settings." in block or "[[settings." in block
]  # fmt: skip


@pytest.mark.parametrize("block", EXAMPLES)
def test_an_example_is_right(block: str) -> None:
    """Whoever copies it gets what the page says."""
    tree = tomllib.loads(block)["settings"]
    known = {name: value for name, value in tree.items() if name in GENERAL}
    accepted = Groups(GENERAL).check(known, complete=True)

    assert render(accepted) != render({})


def test_there_are_examples() -> None:
    """The pattern above still finds them."""
    assert len(EXAMPLES) >= 6
