"""The peer that images are measured against: a plain Debian 13 with containerd.

Made by mmdebstrap from the `bench` tools with the same kernel package,
systemd and containerd, an initramfs as Debian makes it, and one ext4 file
system. It reports readiness as our image does: the same units, started by the
same udev rule. Needs root, because Debian's package scripts do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from bulkhead.build.tools import Tools, tools
from bulkhead.lib import mirrors
from bulkhead.lib.atomicfile import new_directory
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.machine.spec import DirectKernel
from bulkhead.model.errors import HostError

PACKAGES = (
    "linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "dbus", "udev", "containerd",
    "runc", "systemd-resolved", "systemd-timesyncd", "nftables",
)  # fmt: skip
VARIANT = "important"
COMMAND_LINE = "root=/dev/vda rw console=ttyS0 quiet"
SIZE_MIB = 2048
NETWORK = "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n"
SHARED_FILES = (
    "usr/lib/systemd/system/bulkhead-ready.service",
    "usr/lib/systemd/system/bulkhead-started.service",
    "usr/lib/udev/rules.d/80-bulkhead-machine.rules",
)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The peer's files."""

    directory: Path

    @property
    def disk(self) -> Path:
        """Its root file system, which is its whole disk."""
        return self.directory / "disk.raw"

    @property
    def boot(self) -> DirectKernel:
        """How QEMU starts it."""
        return DirectKernel(
            kernel=self.directory / "vmlinuz",
            initrd=self.directory / "initrd.img",
            command_line=COMMAND_LINE,
        )

    @property
    def root(self) -> Path:
        """Its files."""
        return self.directory / "root"


def make() -> Peer:
    """Return the peer, made on first use; it stays in the cache.

    Raises:
        HostError: not root, or mmdebstrap failed.
    """
    made_with = tools("bench", cache=cache_dir(), progress=SILENT)
    files = [repository_root() / "image/rootfs" / name for name in SHARED_FILES]
    recipe = (made_with.key, PACKAGES, VARIANT, SIZE_MIB, [file.read_bytes() for file in files])
    key = hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()[:32]
    place = cache_dir() / "bench" / key
    if not place.is_dir():
        if os.geteuid() != 0:
            raise HostError("the plain Debian image needs root: it runs package scripts")
        with new_directory(place) as scratch:
            _make(scratch, made_with)
    return Peer(directory=place)


def _make(folder: Path, made_with: Tools) -> None:
    root = folder / "root"
    source = (
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
        f"{mirrors.candidates('debian')[0]} trixie main"
    )
    made_with.run(
        [
            "mmdebstrap", "--mode=root", f"--variant={VARIANT}", f"--include={','.join(PACKAGES)}",
            "trixie", str(root), source,
        ],
        writes=[folder], network=True, privileged=True, timeout_s=1500,
    )  # fmt: skip
    for name in SHARED_FILES:
        shutil.copyfile(repository_root() / "image/rootfs" / name, root / name)
    (root / "etc/systemd/network/80-wired.network").write_text(NETWORK)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    for unit in ("systemd-networkd.service", "nftables.service"):
        link = wants / unit
        if not link.is_symlink():
            link.symlink_to(f"/usr/lib/systemd/system/{unit}")
    (root / "etc/hostname").write_text("peer\n")
    for name in ("vmlinuz", "initrd.img"):
        (found,) = (root / "boot").glob(f"{name}-*")
        shutil.copyfile(found, folder / name)
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(SIZE_MIB << 20)
    made_with.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk)], reads=[root], writes=[disk]
    )
