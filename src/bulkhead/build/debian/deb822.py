"""Debian control data: `Field: value` paragraphs, as in deb822(5).

Written here because python-debian is GPL and three times slower, and a
repository index has 68,000 paragraphs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_FIELD = r"^({names}):[ \t]*(.*(?:\n[ \t].*)*)$"
_ANY = re.compile(_FIELD.format(names=r"[!-9;-~]+"), re.MULTILINE)


def paragraphs(text: str, only: Collection[str] | None = None) -> Iterator[dict[str, str]]:
    """Yield each paragraph's fields, with continuation lines as they are.

    Comment lines are ignored; so is anything else that is not a field.

    Args:
        text: the whole file.
        only: the fields that are wanted, which makes large indexes quicker.
    """
    wanted = _ANY if only is None else re.compile(
        _FIELD.format(names="|".join(map(re.escape, only))), re.MULTILINE
    )  # fmt: skip
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        fields = dict(wanted.findall(paragraph))
        if fields:
            yield fields


def first(text: str) -> dict[str, str]:
    """Return the first paragraph's fields; empty when there is none."""
    return next(paragraphs(text), {})
