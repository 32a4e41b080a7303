"""`bulkhead clean`: remove what is no longer used from the cache."""

from __future__ import annotations

import click

from bulkhead.cli import common

DAY_S = 24 * 3600


@click.command("clean")
@click.option(
    "--older-than", "days", type=click.IntRange(min=0), default=30, show_default=True,
    metavar="DAYS", help="Keep what was used in the last DAYS days.",
)  # fmt: skip
@click.option(
    "--all", "everything", is_flag=True,
    help="Also remove what was used since, and what this checkout's locks name.",
)  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def clean_command(*, days: int, everything: bool, dry_run: bool, as_json: bool) -> None:
    """Remove what nothing has used for a while from the cache, and show how big it is.

    Everything in the cache can be made or downloaded again. Tools that this
    checkout's locks name stay, and so do images that were built and machines
    of `bulkhead up`, which are not in the cache.
    """
    from bulkhead.build import clean
    from bulkhead.lib.dirs import cache_dir
    from bulkhead.machine import state
    from bulkhead.model.errors import UserError

    for name in state.names() if everything else ():
        if (record := state.read(name)) is not None and record.is_running():
            raise UserError(
                f"machine {name!r} runs, and QEMU is in the cache",
                hint=f"run: bulkhead down {name}",
            )
    with common.progress() as progress, progress.task("looking at the cache"):
        cleaned = clean.clean(
            cache_dir(), older_than_s=days * DAY_S, everything=everything, dry_run=dry_run
        )
    if as_json:
        common.print_json(cleaned)
        return
    rows = [
        (part.name, common.size(part.size), str(part.entries), str(part.removed))
        for part in cleaned.parts
        if part.entries
    ]
    if rows:
        common.print_table(("part", "size", "entries", "removed"), rows)
    outcome = "would free" if dry_run else "freed"
    click.echo(f"{cleaned.cache}: {outcome} {common.size(cleaned.freed)}")
