"""How long work tells people about itself.

Library code takes a `Progress` and calls it; it never prints. The command
line shows it on a terminal (`cli.progress`); everyone else passes `SILENT`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Task(Protocol):
    """One piece of work that is under way."""

    def advance(self, amount: int) -> None:
        """Add `amount` (bytes or items) to what is done. Safe from any thread."""

    def note(self, text: str) -> None:
        """Show what is being worked on now."""


class Progress(Protocol):
    """Shows tasks to people."""

    def task(
        self, title: str, *, total: int | None = None, unit: str = "B"
    ) -> AbstractContextManager[Task]:
        """Start a task; it is done when the context ends.

        Args:
            title: what is being done, in the present: "downloading packages".
            total: how much there is to do, if known.
            unit: "B" for bytes, anything else is shown as it is.
        """

    def notice(self, text: str) -> None:
        """Tell people something they should know although nothing failed."""


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Silent:
    def task(
        self, title: str, *, total: int | None = None, unit: str = "B"
    ) -> AbstractContextManager[Task]:
        return nullcontext(_SilentTask())

    def notice(self, text: str) -> None:
        pass


SILENT: Progress = _Silent()
