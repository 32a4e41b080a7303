"""What all commands share: JSON for programs, tables and progress for people.

stdout is the answer, stderr is the story.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import click
import msgspec

from bulkhead.lib.progress import Progress, Task


def print_json(value: object) -> None:
    """Print `value` (structs, lists, dicts) as indented JSON on stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns: aligned plain text that a pipe can read too."""
    widths = [max(len(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    for row in (tuple(h.upper() for h in headers), *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


class _LogTask:
    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class LogProgress:
    """Progress where nobody watches: one line for each task on stderr."""

    @contextmanager
    def task(self, title: str, *, total: int | None = None, unit: str = "B") -> Iterator[Task]:
        """Say that a task starts."""
        click.echo(title, err=True)
        yield _LogTask()

    def notice(self, text: str) -> None:
        """Say it on a line of its own."""
        click.echo(f"note: {text}", err=True)


def progress() -> AbstractContextManager[Progress]:
    """Return the progress display that fits standard error."""
    if sys.stderr.isatty():
        from bulkhead.cli.terminal import TerminalProgress

        return TerminalProgress()
    return _plain()


@contextmanager
def _plain() -> Iterator[Progress]:
    yield LogProgress()


def program(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is to be run: a `--` may stand before it.

    Raises:
        click.UsageError: nothing is left.
    """
    words = command[1:] if command[:1] == ("--",) else command
    if not words:
        raise click.UsageError("say what to run: NAME -- COMMAND")
    return words


def size(amount: int) -> str:
    """Return a number of bytes for people, in units of 1000."""
    from rich.filesize import decimal

    return decimal(amount)
