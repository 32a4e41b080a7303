"""`bulkhead verify`: whether an image is what its manifest says, and can be built again."""

from __future__ import annotations

import time
from pathlib import Path

import click

from bulkhead.cli import common


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
@click.option("--quick", is_flag=True, help="Only check the files' hashes; do not rebuild.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def verify_command(
    *, image: Path, variant: str | None, keys: Path | None, quick: bool, as_json: bool
) -> int:  # fmt: skip
    """Rebuild IMAGE from its manifest and compare the bytes.

    IMAGE is a manifest.json, the directory of one, or a file beside one. Tells
    for each file whether it is the same, and where the first difference is.
    """
    from bulkhead.build import verify

    started = time.monotonic()
    with common.progress() as progress:
        verdict = verify.verify(
            image, variant=variant, keys=keys, rebuild=not quick, progress=progress
        )
    if as_json:
        common.print_json(verdict)
        return 0 if verdict.good else 1
    rows = [(f.file, f.state, _where(f.offset, f.detail)) for f in verdict.findings]
    common.print_table(("file", "result", ""), rows)
    for problem in verdict.inputs:
        click.echo(f"cannot be rebuilt here: {problem}")
    seconds = time.monotonic() - started
    if verdict.good:
        what = "is what a rebuild gives" if verdict.rebuilt else "is what its manifest says"
        click.echo(f"\nroot hash {verdict.root_hash} {what}, in {seconds:.0f} s")
    return 0 if verdict.good else 1


def _where(offset: int | None, detail: str | None) -> str:
    at = f"first at byte {offset}" if offset is not None else ""
    return ": ".join(part for part in (at, detail) if part)
