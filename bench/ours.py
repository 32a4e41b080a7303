"""Our image as it is measured: its disk, and how QEMU starts it without firmware."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.build import pipeline
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.machine.spec import DirectKernel

PROBE = str(repository_root() / "tests/boot/probe")
"""The standalone variant, and with it the generator that takes units from the machine's firmware."""


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """A built image."""

    disk: Path
    boot: DirectKernel


def make(variant: str, out: Path) -> Ours:
    """Build a variant into `out`."""
    manifest = pipeline.build_variant(variant, out=out, progress=SILENT)
    path = {output.kind: out / output.file for output in manifest.outputs}
    boot = DirectKernel(
        kernel=path["kernel"], initrd=path["initrd"], command_line=manifest.command_line
    )
    return Ours(disk=path["disk"], boot=boot)
