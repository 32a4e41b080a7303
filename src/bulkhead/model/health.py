"""Conditions that a node can be in for hours, said the same way everywhere.

The API, the command line and the journal show the same entries.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Something is wrong with the node; it keeps working around it."""

    code: str
    """For programs; it never changes: `settings-set-aside`."""
    title: str
    """What is wrong, in one line."""
    severity: Literal["warning", "error"]
    text: str
    """What it means, and the next step."""
    where: str | None = None
    """The key, file or unit that it is about."""
