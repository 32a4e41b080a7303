"""How long from the start of QEMU, and from the start of the kernel, until containerd answers.

    ./bulkhead python -m bench.boot [--json] [--firmware] [RUNS]

Both start in the same machine, the kernel directly. Wall time is the best of
RUNS (3). Then once more with counted instructions: 1 ns of virtual time for
each, on one virtual processor, which gives the same figure on any machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench import ours, peer
from bench.table import Row, show
from bulkhead.machine.spec import Accelerator, DirectKernel, Disk, Firmware, MachineSpec
from bulkhead.testing.vm import VM

LIMIT_S = 600.0
DISK_SIZE = 4 << 30


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """How long one start took, in seconds."""

    qemu: float
    """From the start of QEMU, by the workstation's clock."""
    kernel: float
    """From the start of the kernel, by the guest's clock."""


def boot(disk: Path, start: DirectKernel | Firmware, *, shift: int | None = None) -> Boot:
    """Start a machine and wait until containerd answers."""
    spec = MachineSpec(
        name="bench", boot=start, accelerator=Accelerator.TCG, instructions_shift=shift,
        cpus=2 if shift is None else 1, disks=(Disk(image=disk, size=DISK_SIZE),), reboots=False,
    )  # fmt: skip
    with VM(spec=spec, accelerator="auto" if shift is None else "tcg") as vm:
        started = time.monotonic()
        ready = vm.wait_until_ready(timeout_s=LIMIT_S)
        seconds = time.monotonic() - started
    return Boot(qemu=seconds, kernel=int(ready["ActiveEnterTimestampMonotonic"]) / 1e6)


def best(boots: list[Boot]) -> Boot:
    """Return the quickest of several, each figure for itself."""
    return Boot(qemu=min(b.qemu for b in boots), kernel=min(b.kernel for b in boots))


def main() -> None:
    """Measure both, one after the other, and print the ratios."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    runs = numbers[0] if numbers else 3
    plain = peer.make()
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as name:
        image = ours.make("standalone", Path(name))
        # In turn: whatever else the workstation does meets both.
        pairs = [(boot(image.disk, image.boot), boot(plain.disk, plain.boot)) for _ in range(runs)]
        a, b = best([pair[0] for pair in pairs]), best([pair[1] for pair in pairs])
        rows = [
            Row("start of QEMU → containerd answers", a.qemu, b.qemu, "s", 0.6),
            Row("start of the kernel → containerd answers", a.kernel, b.kernel, "s", 0.6),
        ]
        a = boot(image.disk, image.boot, shift=0)
        b = boot(plain.disk, plain.boot, shift=0)
        rows.append(Row("the same, instructions counted", a.kernel, b.kernel, "s", 0.6))
        if "--firmware" in sys.argv:
            a = best([boot(image.disk, Firmware()) for _ in range(runs)])
            print(f"with UEFI firmware: {a.qemu:.1f} s from the start of QEMU")
    show("boot", f"Debian 13, mmdebstrap --variant={peer.VARIANT}", rows)


if __name__ == "__main__":
    main()
