"""`bulkhead lock`: choose the exact packages of variants, container images and tool sets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from bulkhead.build import oci, preload, tools, variants
from bulkhead.build.debian import lockfile
from bulkhead.build.debian.locking import Request
from bulkhead.build.debian.relock import Relocked, relock
from bulkhead.cli.common import print_json, print_table, progress
from bulkhead.lib import suggest
from bulkhead.lib.dirs import cache_dir
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import UserError

ALL_PACKAGES = "*"


class Target(NamedTuple):
    """One lock file and what it is made from."""

    name: str
    path: Path
    request: Request


@click.command("lock")
@click.argument("names", metavar="[VARIANT]...", nargs=-1)
@click.option("--tools", "tool_sets", metavar="NAME", multiple=True, help="Lock a tool set.")
@click.option(
    "--container", "containers", metavar="NAME", multiple=True, help="Lock a container image."
)
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
    containers: tuple[str, ...],
    everything: bool,
    update: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Choose the exact packages of a VARIANT and write them into its lock file.

    A lock that fits its variant is left alone; one that does not moves as
    little as possible. VARIANT is a name of Bulkhead's own or a path; the
    container images that it brings along are locked with it.
    """
    if everything:
        names, tool_sets = tuple(variants.names()), tuple(tools.names())
        containers = tuple(oci.names())
    if not names and not tool_sets and not containers:
        known = (
            f"variants: {', '.join(variants.names())}; tools: {', '.join(tools.names())}; "
            f"containers: {', '.join(oci.names())}"
        )
        raise click.UsageError(
            f"name a variant, --container NAME, --tools NAME, or --all ({known})"
        )
    targets = _targets(names, containers, tool_sets)
    moving = None if ALL_PACKAGES in update else _moving(targets, update)
    reports = []
    for target in targets:
        started = time.monotonic()
        with progress() as shown:
            report = relock(
                target.name, target.path, target.request,
                update=None if moving is None else moving[target.path],
                dry_run=dry_run, cache=cache_dir(), progress=shown,
            )  # fmt: skip
        reports.append(report)
        if not as_json:
            _print(report, seconds=time.monotonic() - started, dry_run=dry_run)
    if as_json:
        print_json(reports)


def _targets(
    names: Sequence[str], containers: Sequence[str], tool_sets: Sequence[str]
) -> list[Target]:
    """Return what is to be locked, each file once."""
    found = []
    for name in names:
        variant = variants.load(name)
        found.append(Target(variant.name, variant.lock_path, variants.request(variant, AMD64)))
        containers = (*containers, *preload.definitions(variant.variant.preload))
    for name in containers:
        folder = oci.find(name)
        request = oci.request(oci.read(folder), AMD64)
        found.append(Target(f"container {folder.name}", oci.lock_path(folder), request))
    for name in tool_sets:
        request = tools.request(tools.read_definition(name), AMD64.debian)
        found.append(Target(f"tools {name}", tools.lock_path(name), request))
    return list({target.path: target for target in found}.values())


def _moving(targets: Sequence[Target], update: Sequence[str]) -> dict[Path, list[str]]:
    """Return which of the named packages each lock has.

    Raises:
        UserError: a package is in none of them.
    """
    locked: dict[Path, set[str]] = {}
    for target in targets:
        lock = lockfile.read_lock(target.path) if target.path.exists() else None
        locked[target.path] = {package.name for package in lock.packages} if lock else set()
    known = set().union(*locked.values())
    for name in update:
        if name not in known:
            raise UserError(
                f"{name!r} is in no lock that was named, so it cannot be updated",
                hint=suggest.hint(name, known) if known else "make a lock first, without --update",
            )
    return {path: [name for name in update if name in names] for path, names in locked.items()}


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
