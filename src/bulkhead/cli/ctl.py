"""`bulkhead ctl`: everything about one node, through its API."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from bulkhead.cli import ctl_node
from bulkhead.lib import suggest

# name: (module, one line for the overview). The command object has the command's name.
COMMANDS = {
    "get": ("ctl_settings", "Show settings in force."),
    "set": ("ctl_settings", "Change settings and make them take effect."),
    "unset": ("ctl_settings", "Return settings to the image's defaults."),
    "apply": ("ctl_settings", "Take over settings from a file, as from user data."),
    "diff": ("ctl_changes", "Show what a pending transaction would change and touch."),
    "commit": ("ctl_changes", "Make a pending transaction live and effective."),
    "discard": ("ctl_changes", "Forget a pending transaction."),
    "pending": ("ctl_changes", "List pending transactions."),
    "history": ("ctl_changes", "Show who changed what, and when."),
    "rollback": ("ctl_changes", "Go back to the settings of an older commit."),
    "reapply": ("ctl_changes", "Make settings in force take effect again."),
    "status": ("ctl_system", "Show how the node is."),
    "os": ("ctl_system", "Show which system runs."),
    "exec": ("ctl_system", "Run a program in a container."),
    "reboot": ("ctl_system", "Restart the machine."),
    "raw": ("ctl_system", "Send any request to the API."),
}


class NodeCommands(click.Group):
    """The commands, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bulkhead.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the nearest name for an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            hint = suggest.hint(args[0], COMMANDS)
            ctx.fail(f"no such command: {args[0]!r}" + (f"; {hint}" if hint else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


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
