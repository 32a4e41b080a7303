"""Groups of commands: `bulkhead --help` and completion import none of their modules."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import ClassVar

import click

from bulkhead.lib import suggest


class LazyCommands(click.Group):
    """A group whose commands are imported when they are used."""

    table: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Module and one line of help by name; the module has `NAME_command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people meet them."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in self.table:
            return None
        module = importlib.import_module(self.table[cmd_name][0])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the nearest name for an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in self.table:
            hint = suggest.hint(args[0], self.table)
            ctx.fail(f"no such command: {args[0]!r}" + (f"; {hint}" if hint else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])
