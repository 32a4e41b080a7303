"""Progress on a terminal: what, how much, how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from bulkhead.lib import progress


class _Task:
    def __init__(self, shown: Progress, task: TaskID, unit: str) -> None:
        self._shown, self._task, self._unit, self._done = shown, task, unit, 0

    def advance(self, amount: int) -> None:
        self._done += amount
        self._shown.update(self._task, advance=amount, amount=self.amount())

    def note(self, text: str) -> None:
        self._shown.update(self._task, note=text)

    def amount(self) -> str:
        """Return how much is done, for people."""
        return decimal(self._done) if self._unit == "B" else f"{self._done} {self._unit}"


class TerminalProgress:
    """Bars and spinners on standard error while tasks run; one line each when they are done."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._shown = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
        )

    def __enter__(self) -> progress.Progress:
        self._shown.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shown.stop()

    @contextmanager
    def task(
        self, title: str, *, total: int | None = None, unit: str = "B"
    ) -> Iterator[progress.Task]:
        """Show a bar (with `total`) or a spinner until the block ends."""
        row = self._shown.add_task(title, total=total, amount="", note="")
        shown = _Task(self._shown, row, unit)
        yield shown
        self._shown.update(row, total=1, completed=1, note="", amount=shown.amount())

    def notice(self, text: str) -> None:
        """Print a line above the bars."""
        self._shown.console.print(f"note: {text}", highlight=False)
