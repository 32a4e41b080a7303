"""Entry point: finds the command's module, runs it, and turns errors into messages.

Only this file prints errors and chooses exit codes. Command modules are
imported when their command is used, so that `bulkhead --help` stays quick.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import sys

import click

from bulkhead import __version__
from bulkhead.lib import suggest
from bulkhead.model.errors import BulkheadError, HostError

# name: (module, one line for the overview). The command object has the command's name.
COMMANDS = {
    "up": ("bulkhead.cli.up", "Build a variant, start it in a virtual machine, run a container."),
    "down": ("bulkhead.cli.down", "Stop the machine that `up` started."),
    "build": ("bulkhead.cli.build", "Build the image of a variant."),
    "lock": ("bulkhead.cli.lock", "Choose the exact packages of a variant and write them down."),
    "new": ("bulkhead.cli.new", "Make a variant of your own."),
    "keys": ("bulkhead.cli.keys", "Make the keys that sign your images."),
    "clean": ("bulkhead.cli.clean", "Remove what is no longer used from the cache."),
    "verify": ("bulkhead.cli.verify", "Rebuild an image from its manifest and compare the bytes."),
    "ps": ("bulkhead.cli.containers", "List containers."),
    "run": ("bulkhead.cli.containers", "Run a container."),
    "logs": ("bulkhead.cli.containers", "Show what a container wrote."),
    "exec": ("bulkhead.cli.containers", "Run a program in a container."),
    "stop": ("bulkhead.cli.containers", "Stop containers."),
    "start": ("bulkhead.cli.containers", "Start a container that has ended."),
    "rm": ("bulkhead.cli.containers", "Stop and remove containers."),
    "images": ("bulkhead.cli.containers", "List images."),
    "pull": ("bulkhead.cli.containers", "Fetch an image from its registry."),
    "import": ("bulkhead.cli.containers", "Load images from an archive."),
    "ctl": ("bulkhead.cli.ctl", "Look at a node and change it: settings, history, exec, reboot."),
    "check": ("bulkhead.cli.check", "Check the source: format, lint, types, imports, unit tests."),
    "test": ("bulkhead.cli.test", "Run all tests, or the named lanes."),
}


class LazyCommands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
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


@click.command(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Log every step and show tracebacks.")
@click.version_option(__version__)
def bulkhead(debug: bool) -> None:  # noqa: FBT001  # click passes options by name
    """Build and run Bulkhead, the container operating system."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(name)s: %(message)s"
    )


def main() -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        result = bulkhead.main(prog_name="bulkhead", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; nothing half-made was left, run it again to carry on", err=True)
        return 130
    except BrokenPipeError:
        return 1
    # A full disk or a missing right can meet any step; no step can say more than the system does.
    except (BulkheadError, OSError) as error:
        if "--debug" in sys.argv:
            logging.getLogger(__name__).exception("failed")
        return _report(error if isinstance(error, BulkheadError) else _from_system(error))


def _from_system(error: OSError) -> HostError:
    hint = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room, or put the cache on another disk with BULKHEAD_CACHE"
    where = str(error.filename) if error.filename else None
    return HostError(error.strerror or str(error), where=where, hint=hint)


def _report(error: BulkheadError) -> int:
    if "--json" in sys.argv:
        fields = {"error": error.what, "where": error.where, "hint": error.hint}
        click.echo(json.dumps(fields))
    click.echo(f"bulkhead: {error}", err=True)
    return error.exit_code
