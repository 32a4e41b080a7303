"""How long a build takes: nothing changed, one file changed, empty cache; beside mkosi.

    ./bulkhead python -m bench.build [--json]

mkosi builds its usual disk image of the same packages from Debian trixie: a
writable root without dm-verity or reports, a unified kernel image and a GPT
disk, which is less work than ours. Both download from the same mirror; for
the first row both have nothing, for the second both have their packages.
Needs root, because mkosi runs package scripts.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import peer
from bench.table import Row, show
from bulkhead.build import new
from bulkhead.build.tools import Tools, tools
from bulkhead.lib import mirrors
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.lib.run import run

MKOSI = """\
[Distribution]
Distribution=debian
Release=trixie
LocalMirror={mirror}
Repositories=main

[Output]
Format=disk
OutputDirectory={out}
ImageId=peer
Seed=6d4a5a7c-3f0e-5d7b-9f0a-3b9d0b6f2c11

[Content]
Bootable=yes
Bootloader=systemd-boot
WithDocs=no
Packages={names}

[Build]
WorkspaceDirectory={work}
PackageCacheDirectory={packages}
"""
PACKAGES = (
    *peer.PACKAGES, "systemd-boot", "crun", "containernetworking-plugins", "ca-certificates",
    "kmod", "python3-minimal",
)  # fmt: skip


def seconds(action: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def ours(variant: Path, out: Path, cache: Path) -> float:
    """Build a variant with the command that people use."""
    argv = [sys.executable, "-P", "-m", "bulkhead", "build", str(variant), "-o", str(out)]
    environment = {**os.environ, "BULKHEAD_CACHE": str(cache)}
    return seconds(lambda: run(argv, env=environment))


def mkosi(folder: Path, made_with: Tools) -> float:
    """Build the peer's image; packages that were downloaded stay in `folder`."""
    project = folder / "project"
    for name in ("out", "work", "packages", "project"):
        (folder / name).mkdir(exist_ok=True)
    (project / "mkosi.conf").write_text(
        MKOSI.format(
            mirror=mirrors.candidates("debian")[0], out=folder / "out",
            work=folder / "work", packages=folder / "packages", names=",".join(PACKAGES),
        )
    )  # fmt: skip
    argv = ["mkosi", f"--directory={project}", "--force", "build"]
    return seconds(
        lambda: made_with.run(
            argv,
            writes=[folder],
            cwd=folder,
            network=True,
            privileged=True,
            timeout_s=1500,
            env={"HOME": str(folder)},
        )
    )


def main() -> None:
    """Measure both and print the ratios."""
    made_with = tools("bench", cache=cache_dir(), progress=SILENT)
    base = cache_dir() / "bench"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build.", dir=base) as name:
        folder = Path(name)
        variant = new.make("bench", folder / "variant", parent="standalone").parent
        lock = repository_root() / "image/variants/standalone/variant.lock"
        (variant / "variant.lock").write_bytes(lock.read_bytes())
        out, cache, other = folder / "out", folder / "cache", folder / "mkosi"
        other.mkdir()
        empty = ours(variant, out, cache)
        (variant / "rootfs/etc").mkdir(exist_ok=True)
        (variant / "rootfs/etc/motd").write_text("changed\n")
        changed = ours(variant, out, cache)
        nothing = ours(variant, out, cache)
        theirs = mkosi(other, made_with)
        theirs_again = mkosi(other, made_with)
    rows = [
        Row("empty cache, downloads included (≤ 120 s)", empty, theirs, "s"),
        Row("a file of the variant changed (≤ 10 s)", changed, theirs_again, "s"),
        Row("nothing changed (≤ 1 s)", nothing, theirs_again, "s"),
    ]
    show("build", "mkosi, Debian trixie", rows)


if __name__ == "__main__":
    main()
