"""`bulkhead verify`: whether an image is what its manifest says, and can be built again."""

from __future__ import annotations

import time
from pathlib import Path

import click

from bulkhead.cli import common

SAID = {
    "same": "is what a rebuild gives",
    "incomplete": "is what a rebuild gives",
    "unchanged": "is what its manifest says",
}
"""What is said about the root hash, by outcome."""


@click.command("verify")
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--variant", metavar="VARIANT", help="Where the variant is, if it is not one of Bulkhead's own."
)
@click.option(
    "-k",
    "--keys",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Set of keys that signed the image, to compare its EFI programs too.",
)
@click.option(
    "--skip-signed",
    is_flag=True,
    help="Succeed although files that carry a signature were not compared.",
)
@click.option("--quick", is_flag=True, help="Only check the files' hashes; do not rebuild.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def verify_command(
    *,
    image: Path,
    variant: str | None,
    keys: Path | None,
    skip_signed: bool,
    quick: bool,
    as_json: bool,
) -> int:
    """Rebuild IMAGE from its manifest and compare the bytes.

    IMAGE is a manifest.json, the directory of one, or a file beside one. Tells
    for each file whether it is the same, and where the first difference is.
    Comparing all of a signed image needs its keys; without them the outcome is
    "incomplete", which is a failure unless --skip-signed is given.
    """
    from bulkhead.build import verify

    started = time.monotonic()
    with common.progress() as progress:
        verdict = verify.verify(
            image, variant=variant, keys=keys, rebuild=not quick, progress=progress
        )
    good = verdict.outcome in ("same", "unchanged")
    code = 0 if good or (skip_signed and verdict.outcome == "incomplete") else 1
    if as_json:
        common.print_json(verdict)
        return code
    rows = [(f.file, f.state, _where(f.offset, f.detail)) for f in verdict.findings]
    common.print_table(("file", "result", ""), rows)
    for problem in verdict.inputs:
        click.echo(f"cannot be rebuilt here: {problem}")
    for contradiction in verdict.contradictions:
        click.echo(f"the manifest is wrong: {contradiction}")
    if verdict.lock_differences:
        click.echo("\nthe image's lock is not this checkout's:")
        for difference in verdict.lock_differences:
            click.echo(f"  {difference}")
    if text := SAID.get(verdict.outcome):
        seconds = time.monotonic() - started
        click.echo(f"\nroot hash {verdict.root_hash} {text}, in {seconds:.0f} s")
    if verdict.outcome == "incomplete":
        skipped = ", ".join(f.file for f in verdict.findings if f.state == "not compared")
        click.echo(
            f"incomplete: {skipped} not compared\n"
            "  hint: give the keys that signed it with --keys, or accept this with --skip-signed",
            err=True,
        )
    return code


def _where(offset: int | None, detail: str | None) -> str:
    at = f"first at byte {offset}" if offset is not None else ""
    return ": ".join(part for part in (at, detail) if part)
