"""What settings become, file by file.

Each `tests/data/render/NAME.toml` is a tree of settings and `NAME.txt` what is
made of it. After a change that is meant, write them again with
`BULKHEAD_WRITE_GOLDEN=1 ./bulkhead check unit` and read the difference.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.model.settings.groups import GENERAL, Groups
from bulkhead.render.services import SERVICES

CASES = repository_root() / "tests" / "data" / "render"


def written(path: Path) -> str:
    """Return all files that a tree of settings becomes, as one text."""
    settings = tomllib.loads(path.read_text())
    text = ""
    for service in SERVICES:
        for file in service.render(settings):
            marks = [f"{file.mode:04o}", *(["secret"] if file.secret else [])]
            marks += [f"after the image's {file.base}"] if file.base else []
            text += f"=== {service.name}: {file.path} ({', '.join(marks)})\n{file.data.decode()}"
    return text


@pytest.mark.parametrize("path", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_settings_become_these_files(path: Path) -> None:
    """Byte for byte what is committed."""
    text = written(path)
    expected = path.with_suffix(".txt")
    if os.environ.get("BULKHEAD_WRITE_GOLDEN"):
        expected.write_text(text)

    assert text == expected.read_text()


@pytest.mark.parametrize("path", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_settings(path: Path) -> None:
    """The models take them as they are."""
    settings = tomllib.loads(path.read_text())

    assert Groups(GENERAL).check(settings, complete=True).keys() == settings.keys()


def test_every_service_has_a_case() -> None:
    """A renderer without an example is one that nobody has looked at."""
    shown = "".join(path.read_text() for path in CASES.glob("*.txt"))

    assert [s.name for s in SERVICES if f"=== {s.name}: " not in shown] == []
