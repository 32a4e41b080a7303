"""Memory when nothing happens and containerd runs, and what listens.

    ./bulkhead python -m bench.memory [--json] [RUNS]

A script that a disk of its own brings (`bench.inside`) waits a minute after
containerd answers, then reads /proc: MemTotal without MemFree, Buffers, Cached
and SReclaimable, the proportional share of each process, and the listening
sockets. The reader itself is left out. Each figure is the median of RUNS (3)
starts, on a machine as small as `bulkhead up` makes it and on one of a small
node's size. Our image is the test variant `probe`: the standalone image plus
the generator that takes such units; the container image that it brings along
for other tests is not stored, because the peer has none either.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench import inside, ours, peer
from bench.table import Row, show
from bulkhead.machine.spec import DirectKernel
from bulkhead.model.errors import Bug

IDLE_S = 60
SIZES = ((2, 1024), (4, 4096))
"""Processors and MiB of the machines."""
# The figures of the machine come first and by the shell alone: each further process would count.
SCRIPT = f"""\
sleep {IDLE_S}
while read key value unit; do echo M ${{key%:}} $value; done </proc/meminfo
while read key value unit; do echo O $key $value; done </proc/$$/smaps_rollup
sed -n 's/^ *count: /C /p' /proc/zoneinfo
for d in /proc/[0-9]*; do
  [ ${{d#/proc/}} = $$ ] || sed -n "s/^Pss: */P $(tr ' ' _ <$d/comm) /p" $d/smaps_rollup
done 2>/dev/null
for f in tcp tcp6; do sed -n 's/.* 0A .*/N inet/p' /proc/net/$f; done
for f in udp udp6; do sed -n 's/.* 0*:0000 07 .*/N inet/p' /proc/net/$f; done
sed -n 's/.* 00010000 .*/N unix/p' /proc/net/unix
"""
ALONE = {"bulkhead-preload.service": "[Unit]\nConditionPathExists=/nonexistent\n"}


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """What an idle machine uses."""

    used_mib: float
    set_aside_mib: float
    """Free pages on the processors' own lists: part of `used_mib`, because MemFree has not got them."""
    processes: dict[str, float]
    """Proportional set size in MiB, by name."""
    inet: int
    """Listening TCP and unconnected UDP sockets."""
    unix: int


def read(lines: list[str]) -> Idle:
    """Make sense of what the script wrote.

    Raises:
        Bug: containerd does not run, so this is not the machine that was meant.
    """
    words = [line.split() for line in lines]
    memory = {w[1]: int(w[2]) for w in words if w[0] == "M" and len(w) == 3}
    own = next(int(w[2]) for w in words if w[:2] == ["O", "Pss_Anon:"])
    free = sum(memory[key] for key in ("MemFree", "Buffers", "Cached", "SReclaimable"))
    shares: Counter[str] = Counter()
    for w in words:
        if w[0] == "P":
            shares[w[1]] += int(w[2])
    if "containerd" not in shares:
        raise Bug("containerd does not run in the machine that is measured")
    return Idle(
        used_mib=(memory["MemTotal"] - free - own) / 1024,
        set_aside_mib=sum(int(w[1]) for w in words if w[0] == "C") * 4 / 1024,
        processes={name: size / 1024 for name, size in shares.most_common()},
        inet=words.count(["N", "inet"]),
        unix=words.count(["N", "unix"]),
    )


def measure(
    disk: Path,
    start: DirectKernel,
    *,
    cpus: int,
    memory_mib: int,
    dropins: Mapping[str, str] | None = None,
    runs: int,
) -> Idle:
    """Start a machine several times, let it idle, and return the run of median use."""
    idles = [
        read(
            inside.ask(
                disk, start, SCRIPT, waits_s=IDLE_S, dropins=dropins, cpus=cpus,
                memory_mib=memory_mib,
            )
        )
        for _ in range(runs)
    ]  # fmt: skip
    return sorted(idles, key=lambda idle: idle.used_mib)[(runs - 1) // 2]


def compare(a: Idle, b: Idle, *, title: str) -> None:
    """Print ours beside the peer's."""
    rows = [
        Row("memory in use at idle", a.used_mib, b.used_mib, "MiB", 0.6),
        Row("of it, free pages of the processors", a.set_aside_mib, b.set_aside_mib, "MiB"),
        Row(
            "sum of all processes' shares",
            sum(a.processes.values()),
            sum(b.processes.values()),
            "MiB",
        ),
        Row("listening sockets of the network", a.inet, b.inet, ""),
        Row("listening Unix sockets", a.unix, b.unix, ""),
    ]
    show(title, f"Debian 13, mmdebstrap --variant={peer.VARIANT}", rows)
    for name, idle in (("ours", a), ("peer", b)):
        shares = ", ".join(f"{n} {size:.1f}" for n, size in idle.processes.items() if size >= 0.1)
        print(f"{name}: {shares} (MiB)\n")


def main() -> None:
    """Measure both and print the ratios."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    runs = numbers[0] if numbers else 3
    plain = peer.make()
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as name:
        image = ours.make(ours.PROBE, Path(name))
        for cpus, mib in SIZES:
            a = measure(image.disk, image.boot, cpus=cpus, memory_mib=mib, dropins=ALONE, runs=runs)
            b = measure(plain.disk, plain.boot, cpus=cpus, memory_mib=mib, runs=runs)
            compare(a, b, title=f"idle, {cpus} processors and {mib} MiB")


if __name__ == "__main__":
    main()
