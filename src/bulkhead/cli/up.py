"""`bulkhead up`: build a variant, run it as a virtual machine, run a container on it."""

from __future__ import annotations

import re

import click

from bulkhead.cli import common

_LEAST_MEMORY = 256 << 20
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return the bytes of a size with K, M, G or T for powers of 1024."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,14})([KMGT]?)", value.upper().removesuffix("B"))
    if match is None:
        raise click.BadParameter(f"{value!r} is no size; write it like 512M or 8G", ctx, param)
    return int(match[1]) * _UNITS.get(match[2], 1)


def _memory(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return MiB, as many as the image starts with at least."""
    size = _size(ctx, param, value)
    if size is None or size >= _LEAST_MEMORY:
        return None if size is None else size >> 20
    raise click.BadParameter(
        f"{value!r} is too little to start with; give it {_LEAST_MEMORY >> 20}M or more", ctx, param
    )


@click.command("up")
@click.argument("variant", required=False)
@click.option("--name", default="bulkhead", show_default=True, help="Name of the machine.")
@click.option("--memory", callback=_memory, help="Its memory; 1G if left out.")
@click.option("--cpus", type=click.IntRange(1, 64), help="Its processors; 2 if left out.")
@click.option(
    "--disk-size", callback=_size,
    help="Its disk; 8G if left out. It takes no more room here than the machine uses.",
)  # fmt: skip
@click.option(
    "--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True,
    help="Run on the processor (kvm) or emulate one (tcg).",
)  # fmt: skip
@click.option("--no-demo", is_flag=True, help="Run no demo container.")
@click.option("--fresh", is_flag=True, help="Forget what the machine stored before.")
@click.option("--locked", is_flag=True, help="Use exactly the locked packages, or fail.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def up_command(
    *,
    variant: str | None,
    name: str,
    memory: int | None,
    cpus: int | None,
    disk_size: int | None,
    accel: str,
    no_demo: bool,
    fresh: bool,
    locked: bool,
    as_json: bool,
) -> None:
    """Build VARIANT, start it in a virtual machine, and run a container on it.

    Without VARIANT that is standalone. The image goes to out/VARIANT in the
    checkout of Bulkhead, as with `bulkhead build`. The machine runs on when
    the command has ended; stop it with `bulkhead down`.
    """
    from bulkhead.machine import up

    request = up.Request(
        variant=variant, name=name, memory_mib=memory, cpus=cpus, disk_size=disk_size,
        accelerator=accel, demo=not no_demo, fresh=fresh, locked=locked,
    )  # fmt: skip
    with common.progress() as progress:
        status = up.up(request, progress=progress)
    if as_json:
        common.print_json(status)
        return
    for label, value in up.summary(status):
        click.echo(f"{label:<12} {value}")
