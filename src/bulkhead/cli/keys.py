"""`bulkhead keys`: make the keys that sign images for Secure Boot."""

from __future__ import annotations

from pathlib import Path

import click

from bulkhead.cli.common import print_json


@click.command("keys")
@click.option(
    "-o", "--output", "directory", type=click.Path(path_type=Path), default=Path("keys"),
    show_default=True, metavar="DIR", help="New directory for the keys.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def keys_command(directory: Path, as_json: bool) -> None:  # noqa: FBT001  # click passes options by name
    """Make a set of Secure Boot keys: PK, KEK and db.

    Images built with them (`bulkhead build --keys DIR`) start under Secure
    Boot once the keys are enrolled. In a virtual machine whose firmware is in
    setup mode the image does that itself at its first start.
    """
    from bulkhead.build import keys

    made = keys.make(directory)
    if as_json:
        print_json(made)
        return
    click.echo(
        f"keys made in {directory}, valid until {made.not_after:%Y-%m-%d}; keep the .key files secret"
    )
    for name, fingerprint in made.fingerprints.items():
        click.echo(f"{name:<4} sha256:{fingerprint}")
