"""`bulkhead build`: make the image of a variant."""

from __future__ import annotations

import time
from pathlib import Path

import click

from bulkhead.cli import common


@click.command("build")
@click.argument("variant", default="standalone")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory for the outputs; out/VARIANT in the checkout by default.",
)
@click.option(
    "-f",
    "--format",
    "formats",
    multiple=True,
    default=("raw",),
    show_default=True,
    help="Disk image format: raw, qcow2 or raw.zst; may be given several times.",
)
@click.option(
    "-k",
    "--keys",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Sign the EFI programs with this set of keys (see `bulkhead keys`).",
)
@click.option(
    "--locked", is_flag=True, help="Fail rather than choose other packages than the lock file's."
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be built from what.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and the paths as JSON.")
def build_command(
    *, variant: str, out: Path | None, formats: tuple[str, ...], keys: Path | None, locked: bool,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Build the image of VARIANT: a name, or the path of a directory with a variant.toml.

    Without VARIANT that is standalone. The outputs go to out/VARIANT in the
    checkout of Bulkhead, wherever the command is run.
    """
    from bulkhead.build import pipeline

    started = time.monotonic()
    with common.progress() as progress:
        plan = pipeline.plan(
            variant, out=out, formats=formats, keys=keys, locked=locked, dry_run=dry_run,
            progress=progress,
        )  # fmt: skip
        if not dry_run:
            manifest = pipeline.execute(plan, locked=locked, progress=progress)
    if dry_run:
        facts = {
            "variant": plan.resolved.name, "version": plan.version, "output": str(plan.out),
            "formats": list(plan.formats), "packages": len(plan.lock.packages),
            "lock": str(plan.resolved.lock_path), "signed": plan.keys is not None,
        }  # fmt: skip
        if as_json:
            common.print_json(facts)
        else:
            shown = facts | {
                "formats": ", ".join(plan.formats), "signed": "yes" if plan.keys else "no",
            }  # fmt: skip
            common.print_table(("what", "value"), [(k, str(v)) for k, v in shown.items()])
        return
    paths = {output.kind: str(plan.out / output.file) for output in manifest.outputs}
    if as_json:
        common.print_json({"manifest": manifest, "paths": paths, "directory": str(plan.out)})
        return
    common.print_table(
        ("output", "size", "file"),
        [(o.kind, common.size(o.size), paths[o.kind]) for o in manifest.outputs],
    )
    click.echo(f"\nroot hash  {manifest.root_hash}")
    click.echo(f"{plan.name} {plan.version} in {time.monotonic() - started:.1f} s", err=True)
