"""`bulkhead down`: stop a machine that `bulkhead up` started."""

from __future__ import annotations

import click

from bulkhead.cli import common


@click.command("down")
@click.argument("name", required=False)
@click.option("--delete", is_flag=True, help="Remove its disk and all that is known about it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def down_command(*, name: str | None, delete: bool, as_json: bool) -> None:
    """Stop the machine NAME; by default the one that runs."""
    from bulkhead.machine import up

    with common.progress() as progress, progress.task("stopping the machine"):
        stopped = up.down(name, delete=delete)
    if as_json:
        common.print_json(stopped)
        return
    what = "stopped" if stopped.was_running else "was not running"
    if not stopped.clean:
        what += " (the power was cut: it did not power off in time)"
    if stopped.deleted:
        what += ", deleted"
    click.echo(f"machine {stopped.name!r} {what} in {stopped.seconds:.1f} s")
