"""The unified kernel image: kernel, initrd, command line and os-release in one EFI program.

The firmware checks one signature and with it all four; the command line
carries the root hash, so the signature covers every byte of the root too.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.build import signing
from bulkhead.build.keys import Keys
from bulkhead.model.arch import Architecture

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools


def stub(tools: Tools, arch: Architecture) -> Path:
    """Return systemd's EFI stub in the tool tree."""
    return tools.root / "usr/lib/systemd/boot/efi" / f"linux{arch.efi_suffix}.efi.stub"


def make(
    out: Path,
    *,
    arch: Architecture,
    kernel: Path,
    initrd: Path,
    cmdline: str,
    os_release: str,
    uname: str,
    tools: Tools,
    keys: Keys | None,
    epoch: int,
) -> None:
    """Write the unified kernel image to `out`, signed if there are `keys`.

    Args:
        out: the result; it appears whole or not at all.
        arch: decides the stub.
        kernel: the kernel's bzImage.
        initrd: as `initrd.make` writes it.
        cmdline: kernel command line, with `roothash=`.
        os_release: text of the os-release file; the boot menu shows its PRETTY_NAME.
        uname: the kernel's version.
        tools: a tool tree with ukify, the stub, and osslsigncode if there are keys.
        keys: whose `db` key signs.
        epoch: signing time.

    Raises:
        HostError: a tool failed.
    """
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        scratch = Path(name)
        plain, release, options = scratch / "uki.efi", scratch / "os-release", scratch / "cmdline"
        release.write_text(os_release)
        options.write_text(cmdline)
        argv = [
            "ukify", "build", f"--linux={kernel}", f"--initrd={initrd}", f"--cmdline=@{options}",
            f"--os-release=@{release}", f"--uname={uname}", f"--efi-arch={arch.efi_suffix}",
            f"--stub={stub(tools, arch)}", f"--output={plain}",
        ]  # fmt: skip
        tools.run(
            argv,
            reads=[kernel, initrd, stub(tools, arch)],
            writes=[scratch],
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )
        if keys is not None:
            signing.sign(plain, plain, keys=keys, tools=tools, epoch=epoch)
        os.chmod(plain, 0o644)
        os.replace(plain, out)
