"""What the commands of `bulkhead ctl` share: the node, common options, results for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from bulkhead.cli.common import print_json, print_table
from bulkhead.client.api import Api
from bulkhead.model.api import Committed
from bulkhead.model.apply import ApplyResult, FileChange, ServiceResult
from bulkhead.model.history import Change, Commit

_SHOWN = 8
"""Names of settings in one line."""

Command = TypeVar("Command", bound=Callable[..., object])


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Which node is meant."""

    socket: Path | None = None
    machine: str | None = None

    def open(self) -> Api:
        """Return the node's API.

        Raises:
            UserError: no such machine runs.
        """
        socket = self.socket or os.environ.get("BULKHEAD_API")
        if socket and self.machine is None:
            return Api(Path(socket))
        from bulkhead.machine.state import API_PORT, find

        return Api(find(self.machine).channel(API_PORT))


pass_node = click.make_pass_decorator(Node)


def json_option(command: Command) -> Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def failure_option(command: Command) -> Command:
    """Add --on-failure."""
    option = click.option(
        "--on-failure", type=click.Choice(["keep", "rollback"]), default="keep", show_default=True,
        help="If a service fails: leave the change committed, or go back to what was before it.",
    )  # fmt: skip
    return option(command)


def show_committed(done: Committed, *, as_json: bool) -> int:
    """Print how a commit went; return the exit code: 1 if it did not take effect."""
    if as_json:
        print_json(done)
    else:
        click.echo(f"commit {done.commit.number}: {_names(done.commit)}")
        show_services(done.apply.services)
        show_problem(done.apply)
        if not done.apply.ok and not done.rolled_back:
            click.echo("  hint: when the reason is gone: bulkhead ctl reapply", err=True)
        if done.rolled_back:
            click.echo("rolled back: the settings are as they were before", err=True)
        if done.reapplied is not None:
            show_problem(done.reapplied)
    return 0 if done.apply.ok else 1


def show_problem(result: ApplyResult) -> None:
    """Say what did not take effect, and what to do."""
    failed = [service for service in result.services if service.status == "failed"]
    for service in failed:
        click.echo(f"{service.name}: {service.error or 'failed'}", err=True)
    if result.error:
        click.echo(f"nothing takes effect: {result.error}", err=True)
    for note in result.notes:
        click.echo(f"note: {value(note)}", err=True)
    for service in result.services:
        if service.note:
            click.echo(f"note: {service.name}: {service.note}", err=True)
    if any(service.reboot for service in result.services):
        click.echo("note: some of it takes effect at the next start: bulkhead ctl reboot", err=True)


def show_services(services: Iterable[ServiceResult]) -> None:
    """Print one row for each service."""
    rows = [
        (
            service.name,
            service.action,
            service.status,
            f"{service.duration_s:.2f} s" if service.status in ("done", "failed") else "",
        )
        for service in services
    ]
    if rows:
        print_table(("service", "action", "result", "time"), rows)


def show_changes(changes: Iterable[Change]) -> None:
    """Print one line for each setting: what it was, what it will be."""
    for change in changes:
        click.echo(f"{change.key}: {_value(change.old)} -> {_value(change.new)}")


def show_files(files: Iterable[FileChange]) -> None:
    """Print each file with its difference."""
    for file in files:
        click.echo(f"{file.change} {file.path}")
        if file.diff:
            click.echo(file.diff.rstrip("\n"))


def value(shown: object) -> str:
    """Return a setting's value for people: text as it is, everything else as JSON."""
    text = shown if isinstance(shown, str) else msgspec.json.encode(shown).decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _value(shown: object) -> str:
    return "(default)" if shown is None else msgspec.json.encode(shown).decode()


def _names(commit: Commit) -> str:
    names = [change.key for change in commit.changed]
    if not names:
        return "no setting has another value than before"
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
