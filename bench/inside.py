"""Look into a machine that has no shell: a disk with busybox, and a unit that runs a script from it.

The disk and the unit come from the outside, so ours and the peer are read by
the same program, and neither has anything more in its image. The reader moves
into memory and lets go of its disk before the script starts: the queues and
requests of a disk take a megabyte that the machine would not use by itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bulkhead.build.tools import tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.machine.spec import Accelerator, DirectKernel, Disk, MachineSpec
from bulkhead.testing.vm import VM

DISK_SIZE = 4 << 30
LIMIT_S = 900.0
"""From the machine's start to the script's answer, its own waiting not counted."""
_DISK, _PLACE = "/run/benchdisk", "/run/bench"
_MOUNT_UNIT = "run-benchdisk.mount"
_MOUNT = f"""\
[Unit]
DefaultDependencies=no
[Mount]
What=/dev/disk/by-id/virtio-disk1
Where={_DISK}
Type=ext4
Options=ro
"""
_UNIT = f"""\
[Unit]
After=containerd.service
RequiresMountsFor={_DISK}
[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=PATH={_PLACE}:{_DISK}:/usr/bin
ExecStart={_DISK}/sh -e {_DISK}/enter
"""
_ENTER = f"""\
mkdir -p {_PLACE}
mount -t tmpfs bench {_PLACE}
cp -a {_DISK}/. {_PLACE}
exec {_PLACE}/sh {_PLACE}/script
"""
# The questions are asked by this one shell, and their answers kept in a file: a pipe's other end
# would be one more process in the machine that is measured.
_SCRIPT = f"""\
disk=$(readlink -f /dev/disk/by-id/virtio-disk1)
umount {_DISK} || exit
cd -P /sys/class/block/${{disk##*/}}/device
echo ${{PWD##*/}} >/sys/bus/virtio/drivers/virtio_blk/unbind
cd {_PLACE}
. ./questions >answers
"""
PROGRAMS = (
    "awk",
    "cat",
    "cp",
    "find",
    "grep",
    "mkdir",
    "mount",
    "readlink",
    "sed",
    "sleep",
    "tr",
    "umount",
)
_BEGIN, _END = "BENCH-BEGIN", "BENCH-END"
_CONSOLE = "/dev/ttyS0"
"""Opened for the answer: a login that starts on it cuts off whoever has had it open before."""


def ask(
    disk: Path,
    start: DirectKernel,
    script: str,
    *,
    waits_s: float = 0.0,
    dropins: Mapping[str, str] | None = None,
    cpus: int = 2,
    memory_mib: int = 1024,
) -> list[str]:
    """Start a machine, run a script for busybox's shell in it, return the lines that it wrote.

    Args:
        disk: image of the machine's first disk, with the generator for units from credentials.
        start: its kernel.
        script: starts when containerd answers. It may contain no `|`.
        waits_s: how long the script sleeps.
        dropins: drop-ins for the machine's units, by the unit's name.
        cpus: the machine's processors.
        memory_mib: its memory.

    Raises:
        HostError: no answer in time; the end of the console is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as name:
        image = _disk(Path(name), script)
        spec = MachineSpec(
            name="bench", boot=start, accelerator=Accelerator.TCG, reboots=False, ready=False,
            cpus=cpus, memory_mib=memory_mib,
            disks=(Disk(image=disk, size=DISK_SIZE), Disk(image=image)),
        )  # fmt: skip
        credentials = {
            f"systemd.unit-dropin.{unit}~bench": text.encode()
            for unit, text in (dropins or {}).items()
        }
        credentials[f"systemd.extra-unit.{_MOUNT_UNIT}"] = _MOUNT.encode()
        with VM(spec=spec, units={"bench.service": _UNIT}, credentials=credentials) as vm:
            answer = vm.wait_for_line(f"{_BEGIN}(.*){_END}", timeout_s=LIMIT_S + waits_s)
            return answer[1].strip("|").split("|")


def _disk(folder: Path, script: str) -> Path:
    """Return a small file system with busybox under the names of its programs, and the scripts."""
    made_with = tools("bench", cache=cache_dir(), progress=SILENT)
    inside = tools("inside", cache=cache_dir(), progress=SILENT)
    root, image = folder / "root", folder / "disk.raw"
    root.mkdir()
    shutil.copyfile(inside.root / "usr/bin/busybox", root / "sh")
    (root / "sh").chmod(0o755)
    for name in PROGRAMS:
        (root / name).symlink_to("sh")
    (root / "enter").write_text(_ENTER)
    (root / "questions").write_text(script)
    (root / "script").write_text(
        f"{_SCRIPT}{{ printf '{_BEGIN}|'; cat answers; }} | tr '\\n' '|' >{_CONSOLE}\n"
        f"echo {_END} >{_CONSOLE}\n"
    )
    with image.open("wb") as file:
        file.truncate(8 << 20)
    made_with.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image)], reads=[root], writes=[image]
    )
    return image
