"""`bulkhead ctl`: everything about one node, through its API."""

from __future__ import annotations

from pathlib import Path

import click

from bulkhead.cli import ctl_node
from bulkhead.cli.lazy import LazyCommands

# name: (module, one line for the overview). The command object has the command's name.
COMMANDS = {
    "get": ("bulkhead.cli.ctl_settings", "Show settings in force."),
    "set": ("bulkhead.cli.ctl_settings", "Change settings and make them take effect."),
    "unset": ("bulkhead.cli.ctl_settings", "Return settings to the image's defaults."),
    "apply": ("bulkhead.cli.ctl_settings", "Take over settings from a file, as from user data."),
    "diff": ("bulkhead.cli.ctl_changes", "Show what a pending transaction would change and touch."),
    "commit": ("bulkhead.cli.ctl_changes", "Make a pending transaction live and effective."),
    "discard": ("bulkhead.cli.ctl_changes", "Forget a pending transaction."),
    "pending": ("bulkhead.cli.ctl_changes", "List pending transactions."),
    "history": ("bulkhead.cli.ctl_changes", "Show who changed what, and when."),
    "rollback": ("bulkhead.cli.ctl_changes", "Go back to the settings of an older commit."),
    "reapply": ("bulkhead.cli.ctl_changes", "Make settings in force take effect again."),
    "status": ("bulkhead.cli.ctl_system", "Show how the node is."),
    "os": ("bulkhead.cli.ctl_system", "Show which system runs."),
    "exec": ("bulkhead.cli.ctl_system", "Run a program in a container."),
    "reboot": ("bulkhead.cli.ctl_system", "Restart the machine."),
    "raw": ("bulkhead.cli.ctl_system", "Send any request to the API."),
}


class NodeCommands(LazyCommands):
    """What `bulkhead ctl` can do."""

    table = COMMANDS


@click.group("ctl", cls=NodeCommands)
@click.option(
    "--socket", type=click.Path(path_type=Path), metavar="PATH",
    help="A Unix socket that leads to the node's API, local or forwarded by ssh.",
)  # fmt: skip
@click.option(
    "--machine", "-M", metavar="NAME",
    help="A machine of `bulkhead up`; the one that runs if left out.",
)  # fmt: skip
@click.pass_context
def ctl_command(ctx: click.Context, *, socket: Path | None, machine: str | None) -> None:
    """Look at a node and change it, through its API.

    The node is the machine of `bulkhead up` unless --socket or the variable BULKHEAD_API
    names a socket.
    """
    if socket is not None and machine is not None:
        raise click.UsageError("give --socket or --machine, not both")
    ctx.obj = ctl_node.Node(socket=socket, machine=machine)
