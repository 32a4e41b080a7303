"""`bulkhead ctl diff`, `commit`, `discard`, `pending`, `history`, `rollback`, `reapply`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from bulkhead.cli import ctl_node
from bulkhead.cli.common import print_json, print_table
from bulkhead.cli.ctl_node import Node, failure_option, json_option, pass_node
from bulkhead.client.api import Api
from bulkhead.client.connection import Unprocessable
from bulkhead.model.api import OnFailure, Plan
from bulkhead.model.errors import UserError
from bulkhead.model.history import Commit
from bulkhead.model.settings import keys

NOTHING = 3
"""Exit code: there was nothing to do."""


def show_plan(plan: Plan, *, as_json: bool) -> int:
    """Print what a change would do: settings, files, services; return the exit code."""
    if as_json:
        print_json(plan)
    elif not plan.changes:
        click.echo("nothing would change")
    else:
        ctl_node.show_changes(plan.changes)
        ctl_node.show_files(plan.apply.files)
        ctl_node.show_services(plan.apply.services)
        ctl_node.show_problem(plan.apply)
    if not plan.changes:
        return NOTHING
    return 0 if plan.apply.ok else 1


@click.command("diff")
@click.argument("tx", required=False, metavar="[NAME]")
@json_option
@pass_node
def diff_command(node: Node, *, tx: str | None, as_json: bool) -> int:
    """Show which settings, files and services the transaction NAME would change and touch.

    NAME may be left out when one transaction is pending. Exit code 3: it would change nothing;
    1: it could not take effect.
    """
    api = node.open()
    return show_plan(api.plan(_pending(api, tx)), as_json=as_json)


@click.command("commit")
@click.argument("tx", required=False, metavar="[NAME]")
@click.option("-m", "--message", help="Say why, for the history.")
@failure_option
@json_option
@pass_node
def commit_command(
    node: Node, *, tx: str | None, message: str | None, on_failure: OnFailure, as_json: bool
) -> int:
    """Make the transaction NAME live and effective, and say how that went.

    NAME may be left out when one transaction is pending. Exit code 3: there is nothing in it.
    """
    api = node.open()
    name = _pending(api, tx)
    try:
        done = api.commit(name, message=message, on_failure=on_failure)
    except Unprocessable as error:
        click.echo(f"bulkhead: {error}", err=True)
        return NOTHING
    return ctl_node.show_committed(done, as_json=as_json)


@click.command("discard")
@click.argument("tx", required=False, metavar="[NAME]")
@json_option
@pass_node
def discard_command(node: Node, *, tx: str | None, as_json: bool) -> None:
    """Forget what is staged in the transaction NAME.

    NAME may be left out when one transaction is pending.
    """
    api = node.open()
    name = _pending(api, tx)
    dropped = api.discard(name)
    if as_json:
        print_json({"transaction": name, "keys": dropped})
    else:
        click.echo(f"forgot {name!r}: {', '.join(dropped) or 'nothing was staged in it'}")


@click.command("pending")
@json_option
@pass_node
def pending_command(node: Node, *, as_json: bool) -> None:
    """List pending transactions and what they would change."""
    api = node.open()
    found = {name: api.diff(name) for name in api.transactions()}
    if as_json:
        print_json(found)
        return
    rows = [
        (name, " ".join(c.key for c in changes) or "nothing") for name, changes in found.items()
    ]
    print_table(("transaction", "changes"), rows)


@click.command("history")
@click.argument("number", required=False, type=click.IntRange(min=0), metavar="[NUMBER]")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many."
)
@json_option
@pass_node
def history_command(node: Node, *, number: int | None, limit: int, as_json: bool) -> None:
    """Show who changed what, and when: the newest commits, or commit NUMBER in full."""
    api = node.open()
    if number is not None:
        commit = api.commit_at(number)
        if as_json:
            print_json(commit)
        else:
            _show_commit(commit)
        return
    commits = api.history(limit)
    if as_json:
        print_json(commits)
        return
    print_table(("commit", "time", "who", "changed", "message"), [_row(item) for item in commits])


@click.command("rollback")
@click.argument("number", type=click.IntRange(min=0))
@failure_option
@json_option
@pass_node
def rollback_command(node: Node, *, number: int, on_failure: OnFailure, as_json: bool) -> int:
    """Go back to the settings of commit NUMBER; 0 is what the image has.

    That is a commit of its own, so it can be undone in the same way.
    """
    done = node.open().rollback(number, on_failure=on_failure)
    return ctl_node.show_committed(done, as_json=as_json)


@click.command("reapply")
@click.argument("names", nargs=-1, metavar="[KEY]...")
@json_option
@pass_node
def reapply_command(node: Node, *, names: tuple[str, ...], as_json: bool) -> int:
    """Make settings in force take effect again: all, or those of some KEYs.

    For when a service had failed and its reason is gone.
    """
    full = [keys.format(keys.parse(name)) for name in names] or None
    result = node.open().apply(full)
    if as_json:
        print_json(result)
    else:
        ctl_node.show_services(result.services)
        ctl_node.show_problem(result)
    return 0 if result.ok else 1


def _pending(api: Api, name: str | None) -> str:
    """Return the transaction that is meant.

    Raises:
        UserError: none was named and there is not exactly one.
    """
    if name is not None:
        return name
    known = api.transactions()
    if len(known) == 1:
        return known[0]
    if not known:
        raise UserError(
            "no transaction is pending", hint="stage changes with: bulkhead ctl set --tx NAME"
        )
    raise UserError("several transactions are pending", hint=f"name one of: {', '.join(known)}")


def _show_commit(commit: Commit) -> None:
    rows = [
        ("commit", str(commit.number)),
        ("time", _time(commit.time)),
        ("who", commit.who),
        ("message", commit.message or ""),
        ("system", commit.os_version),
    ]
    if commit.restores is not None:
        rows.append(("restores", f"commit {commit.restores}"))
    for label, shown in rows:
        if shown:
            click.echo(f"{label:<9} {ctl_node.value(shown)}")
    ctl_node.show_changes(commit.changed)


def _row(commit: Commit) -> tuple[str, ...]:
    changed = " ".join(change.key.removeprefix("settings.") for change in commit.changed)
    message = commit.message or ""
    if commit.restores is not None:
        message = f"restores {commit.restores}" + (f": {message}" if message else "")
    return (
        str(commit.number), _time(commit.time), commit.who, changed, ctl_node.value(message),
    )  # fmt: skip


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
