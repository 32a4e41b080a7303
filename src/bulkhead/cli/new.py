"""`bulkhead new`: a variant of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from bulkhead.cli import common


@click.command("new")
@click.argument("name")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Its directory; NAME here by default, or beside the checkout when in it.",
)
@click.option(
    "--from",
    "parent",
    default="standalone",
    show_default=True,
    metavar="VARIANT",
    help="The variant that it adds to.",
)
@click.option("--no-build", is_flag=True, help="Only make the directory.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
def new_command(
    *, name: str, folder: Path | None, parent: str, no_build: bool, as_json: bool
) -> None:  # fmt: skip
    """Make a variant of your own, NAME, outside of the repository, and build it.

    What it adds is written in the variant.toml that this makes; the comments
    in it say how.
    """
    from bulkhead.build import new, pipeline

    made = new.make(name, folder or new.default_folder(name, here=Path.cwd()), parent=parent)
    outputs = made.parent / "out"
    paths = {"variant": str(made)}
    if not no_build:
        with common.progress() as progress:
            manifest = pipeline.build_variant(str(made), out=outputs, progress=progress)
        paths |= {output.kind: str(outputs / output.file) for output in manifest.outputs}
    if as_json:
        common.print_json(paths)
        return
    click.echo(f"made    {made}")
    if not no_build:
        click.echo(f"image   {paths['disk']}")
    click.echo(f"change  edit it, then: bulkhead build {made.parent} -o {outputs}")
    click.echo(f"start   bulkhead up {made.parent}")
