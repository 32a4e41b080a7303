"""`bulkhead lock`: choose the exact packages of variants and tool sets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from bulkhead.build import tools, variants
from bulkhead.build.debian.locking import Request
from bulkhead.build.debian.relock import Relocked, relock
from bulkhead.cli.common import print_json, print_table, progress
from bulkhead.lib.dirs import cache_dir
from bulkhead.model.arch import AMD64

ALL_PACKAGES = "*"


class Target(NamedTuple):
    """One lock file and what it is made from."""

    name: str
    path: Path
    request: Request


@click.command("lock")
@click.argument("names", metavar="[VARIANT]...", nargs=-1)
@click.option("--tools", "tool_sets", metavar="NAME", multiple=True, help="Lock a tool set.")
@click.option("--all", "everything", is_flag=True, help="Lock all of Bulkhead's own.")
@click.option(
    "--update", metavar="[PACKAGE]", multiple=True, is_flag=False, flag_value=ALL_PACKAGES,
    help="Move this package, or all of them, to the best version there is now.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def lock_command(
    *,
    names: tuple[str, ...],
    tool_sets: tuple[str, ...],
    everything: bool,
    update: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Choose the exact packages of a VARIANT and write them into its lock file.

    A lock that fits its variant is left alone; one that does not moves as
    little as possible. VARIANT is a name of Bulkhead's own or a path.
    """
    if everything:
        names, tool_sets = tuple(variants.names()), tuple(tools.names())
    if not names and not tool_sets:
        known = f"variants: {', '.join(variants.names())}; tools: {', '.join(tools.names())}"
        raise click.UsageError(f"name a variant, --tools NAME, or --all ({known})")
    reports = []
    for target in _targets(names, tool_sets):
        started = time.monotonic()
        with progress() as shown:
            report = relock(
                target.name, target.path, target.request,
                update=None if ALL_PACKAGES in update else update,
                dry_run=dry_run, cache=cache_dir(), progress=shown,
            )  # fmt: skip
        reports.append(report)
        if not as_json:
            _print(report, seconds=time.monotonic() - started, dry_run=dry_run)
    if as_json:
        print_json(reports)


def _targets(names: tuple[str, ...], tool_sets: tuple[str, ...]) -> Iterator[Target]:
    for name in names:
        variant = variants.load(name)
        yield Target(variant.name, variant.lock_path, variants.request(variant, AMD64))
    for name in tool_sets:
        request = tools.request(tools.read_definition(name), AMD64.debian)
        yield Target(f"tools {name}", tools.lock_path(name), request)


def _print(report: Relocked, *, seconds: float, dry_run: bool) -> None:
    if report.changes:
        rows = [(c.kind, c.name, c.old or "", c.new or "") for c in report.changes]
        print_table(("change", "package", "from", "to"), rows)
    size = f"{report.packages} packages, {report.download_size / 1e6:.1f} MB"
    if report.written:
        outcome = f"wrote {report.path}"
    elif report.changes or report.stale:
        outcome = f"would change {len(report.changes)}; nothing was written"
    else:
        outcome = "nothing to do"
    click.echo(f"{report.name}: {size}; {outcome} ({seconds:.1f} s)")
