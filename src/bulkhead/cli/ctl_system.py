"""`bulkhead ctl status`, `os`, `exec`, `reboot`, `raw`: the node as a whole."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from bulkhead.cli.common import print_json, print_table, program
from bulkhead.cli.ctl_node import Node, json_option, pass_node, show_problem
from bulkhead.client.api import Api
from bulkhead.client.connection import Busy, Missing
from bulkhead.model.apply import ApplyResult
from bulkhead.model.boot import UNFULFILLED
from bulkhead.model.health import Condition
from bulkhead.model.updates import UpdateStatus


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is."""

    version: str
    os: dict[str, str]
    read_only: bool
    """Settings cannot be changed until the next start."""
    conditions: tuple[Condition, ...]
    """What is wrong with the settings; the node works around it."""
    commit: int | None
    """The newest one; None while the node has the image's settings."""
    pending: tuple[str, ...]
    """Names of transactions."""
    applied: ApplyResult | None
    """How settings took effect the last time."""
    updates: UpdateStatus | None
    """None before anybody looked for updates."""


@click.command("status")
@json_option
@pass_node
def status_command(node: Node, *, as_json: bool) -> int:
    """Show how the node is: its system, its settings, how they took effect, updates.

    Exit code 1: the settings in force have not all taken effect.
    """
    status = _status(node.open())
    if as_json:
        print_json(status)
    else:
        for label, shown in _lines(status):
            click.echo(f"{label:<9} {shown}")
        if status.applied is not None:
            show_problem(status.applied)
            if not status.applied.ok:
                click.echo("  hint: when the reason is gone: bulkhead ctl reapply", err=True)
    failed = status.applied is not None and not status.applied.ok
    return 1 if failed or any(c.code in UNFULFILLED for c in status.conditions) else 0


@click.command("os")
@json_option
@pass_node
def os_command(node: Node, *, as_json: bool) -> None:
    """Show which system runs."""
    found = node.open().os()
    if as_json:
        print_json(found)
    else:
        print_table(("name", "value"), sorted(found.items()))


@click.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option("-t", "--tty", "terminal", flag_value=True, default=None, type=bool,
              help="Give it a terminal, also when output is piped.")  # fmt: skip
@click.option("-T", "--no-tty", "terminal", flag_value=False, type=bool,
              help="Give it none, also when this program has one.")  # fmt: skip
@click.argument("target")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_node
def exec_command(
    node: Node, *, terminal: bool | None, target: str, command: tuple[str, ...]
) -> int:
    """Run COMMAND in the running container TARGET; its exit code becomes this program's."""
    from bulkhead.cli.attach import attach_through_api

    words = program(command)
    return attach_through_api(node.open().connection, target, words, tty=terminal)


@click.command("reboot")
@json_option
@pass_node
def reboot_command(node: Node, *, as_json: bool) -> None:
    """Restart the machine."""
    node.open().reboot()
    if as_json:
        print_json({"rebooting": True})
    else:
        click.echo("the machine restarts")


@click.command("raw")
@click.argument("method", metavar="METHOD")
@click.argument("path", metavar="PATH")
@click.option("-d", "--data", help="The request's body.")
@click.option(
    "-f", "--file", type=click.Path(path_type=Path, allow_dash=True),
    help="A file with the request's body; - for standard input.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Print the status on standard error.")
@pass_node
def raw_command(
    node: Node, *, method: str, path: str, data: str | None, file: Path | None, verbose: bool
) -> int:
    """Send any request to the API, as Bottlerocket's apiclient does; print the answer's body."""
    if data is not None and file is not None:
        raise click.UsageError("give --data or --file, not both")
    if not path.startswith("/") or any(c.isspace() or not c.isprintable() for c in path):
        raise click.UsageError(f"a path starts with / and has no blanks: {path!r}")
    body = data.encode() if data is not None else None
    if file is not None:
        body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    verb = method.upper()
    answer = node.open().send(verb, path, body)
    if verbose:
        click.echo(f"status {answer.status}", err=True)
    if answer.status >= 400:
        text = answer.body.decode(errors="replace")
        # Programs look for the status in these words.
        told = f"Status {answer.status} when {verb}ing {path}: {text}"
        click.echo(f"Failed {verb} request to '{path}': {told}", err=True)
        return 1
    click.echo(answer.body, nl=False)
    return 0


def _status(api: Api) -> Status:
    health = api.health()
    commits = api.history(1)
    try:
        applied = api.applied()
    except Missing:
        applied = None
    try:
        updates = api.update_status()
    except (Missing, Busy):
        updates = None
    return Status(
        version=health.version,
        os=api.os(),
        read_only=health.read_only,
        conditions=health.conditions,
        commit=commits[0].number if commits else None,
        pending=tuple(api.transactions()),
        applied=applied,
        updates=updates,
    )


def _lines(status: Status) -> list[tuple[str, str]]:
    found = [("system", status.os.get("pretty_name", "unknown"))]
    settings = "as in the image" if not status.commit else f"commit {status.commit}"
    if status.read_only:
        settings += ", locked until the next start"
    found.append(("settings", settings))
    found += ((c.severity, c.title) for c in status.conditions)
    if status.pending:
        found.append(("pending", ", ".join(status.pending)))
    if status.applied is not None:
        found.append(("applied", "all of it" if status.applied.ok else "NOT all of it, see below"))
    if status.updates is not None:
        known = ", ".join(status.updates.available_updates)
        found.append(
            ("updates", status.updates.update_state.value + (f": {known}" if known else ""))
        )
    return found
