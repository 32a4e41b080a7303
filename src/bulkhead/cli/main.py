"""Entry point: finds the command's module, runs it, and turns errors into messages.

Only this file prints errors and chooses exit codes. Command modules are
imported when their command is used, so that `bulkhead --help` stays quick.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from pathlib import Path

import click

from bulkhead import __version__
from bulkhead.cli.lazy import LazyCommands
from bulkhead.launch import termination
from bulkhead.lib.dirs import cache_dir, state_dir
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


class Commands(LazyCommands):
    """What `bulkhead` can do."""

    table = COMMANDS


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
        with termination.as_interrupt():
            result = bulkhead.main(prog_name="bulkhead", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        _end_output(error.format_message(), hint=_help_of(error))
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort) as stop:
        default = "interrupted; nothing half-made was left, run it again to carry on"
        # Of an interrupt click makes an Abort.
        click.echo(str(stop.__cause__ or stop) or default, err=True)
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
    where = str(error.filename) if error.filename else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room, or put the cache on another disk with BULKHEAD_CACHE"
    elif error.errno in (errno.EACCES, errno.EROFS) and where is not None:
        for variable, folder in (("BULKHEAD_CACHE", cache_dir()), ("BULKHEAD_STATE", state_dir())):
            # What is above it too: a directory is made with all that leads to it.
            if folder.is_relative_to(where) or Path(where).is_relative_to(folder):
                hint = f"name a directory that can be written to in {variable}"
                break
    return HostError(error.strerror or str(error), where=where, hint=hint)


def _report(error: BulkheadError) -> int:
    _end_output(error.what, where=error.where, hint=error.hint)
    click.echo(f"bulkhead: {error}", err=True)
    return error.exit_code


def _help_of(error: click.UsageError) -> str | None:
    return f"see: {error.ctx.command_path} --help" if error.ctx else None


def _end_output(what: str, *, where: str | None = None, hint: str | None = None) -> None:
    """Have standard output end with an error, if it is JSON, and leave nothing in its buffer."""
    try:
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": what, "where": where, "hint": hint}))
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()
    except OSError:
        # Standard output may be what failed. Python flushes it once more at the end, and a second
        # failure would be a traceback; see "Note on SIGPIPE" in Python's documentation of signal.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
