"""Memory when nothing happens and containerd runs, and what listens.

    ./bulkhead python -m bench.memory [--json]

A unit handed over by the machine's firmware waits a minute after containerd
answers, then writes /proc's figures to the console: MemTotal without
MemFree, Buffers, Cached and SReclaimable, the proportional share of each process, and
the listening sockets. The reader itself is left out. Our image is the test
variant `probe`: the standalone image plus the generator that takes such units.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from bench import peer
from bench.table import Row, show
from bulkhead.build import pipeline
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.machine.spec import Accelerator, DirectKernel, Disk, MachineSpec
from bulkhead.testing.vm import VM

LIMIT_S = 900.0
DISK_SIZE = 4 << 30
IDLE_S = 60
UNIT = """\
[Unit]
After=containerd.service
Requisite=containerd.service
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
{extra}
ExecStart={program}
"""
# Both readers write the same lines. The first is empty: a login prompt may stand before it.
SHELL = (
    "/bin/sh -c 'sleep @IDLE@; echo; "
    'grep -E "^(MemTotal|MemFree|Buffers|Cached|SReclaimable):" /proc/meminfo; '
    "for d in /proc/[0-9]*; do "
    '[ $${d##*/} = $$$$ ] || echo "P $$(cat $$d/comm 2>/dev/null) '
    '$$(sed -n "s/^Pss: *//p" $$d/smaps_rollup 2>/dev/null)"; done; '
    'for f in tcp tcp6 udp udp6 unix; do sed "s/^/N $$f /" /proc/net/$$f; done; '
    'echo S $$(sed -n "s/^Pss_Anon: *//p" /proc/$$$$/smaps_rollup); echo BENCH-END\''
)
PYTHON = """\
import glob, os, time
time.sleep(@IDLE@)
print()
def text(path):
    try:
        return open(path).read()
    except OSError:
        return ''
def value(path, key):
    return next((l.split(':')[1].strip() for l in text(path).splitlines() if l.startswith(key)), '')
for line in text('/proc/meminfo').splitlines():
    if line.split(':')[0] in ('MemTotal', 'MemFree', 'Buffers', 'Cached', 'SReclaimable'):
        print(line)
for d in glob.glob('/proc/[0-9]*'):
    if d != '/proc/' + str(os.getpid()):
        print('P', text(d + '/comm').strip(), value(d + '/smaps_rollup', 'Pss:'))
for f in ('tcp', 'tcp6', 'udp', 'udp6', 'unix'):
    for line in text('/proc/net/' + f).splitlines():
        print('N', f, line)
print('S', value('/proc/self/smaps_rollup', 'Pss_Anon:'))
print('BENCH-END', flush=True)
"""
AGENT = "RootDirectory=/usr/lib/bulkhead/agent\nMountAPIVFS=yes"


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """What an idle machine uses."""

    used_mib: float
    processes: dict[str, float]
    """Proportional set size in MiB, by name."""
    inet: int
    """Listening TCP and unconnected UDP sockets."""
    unix: int


def read(console: str) -> Idle:
    """Make sense of what the unit wrote."""
    memory = {
        key: int(size) for key, size in re.findall(r"^(\w+): +(\d+) kB", console, re.MULTILINE)
    }
    own = int(m[1]) if (m := re.search(r"^S (\d+) kB", console, re.MULTILINE)) else 0
    free = sum(memory[key] for key in ("MemFree", "Buffers", "Cached", "SReclaimable"))
    shares: Counter[str] = Counter()
    for name, size in re.findall(r"^P (.+?) (\d+) kB", console, re.MULTILINE):
        shares[name] += int(size)
    sockets = re.findall(r"^N (\w+) (.*)$", console, re.MULTILINE)
    inet = sum(
        1
        for kind, line in sockets
        if (kind in ("tcp", "tcp6") and " 0A " in line)
        or (kind in ("udp", "udp6") and re.search(r" 0{8,32}:0000 07 ", line))
    )
    unix = sum(1 for kind, line in sockets if kind == "unix" and " 00010000 " in line)
    return Idle(
        used_mib=(memory["MemTotal"] - free - own) / 1024,
        processes={name: size / 1024 for name, size in shares.most_common()},
        inet=inet,
        unix=unix,
    )


def measure(disk: Path, start: DirectKernel, *, program: str, extra: str = "") -> Idle:
    """Start a machine, let it idle, and return what it uses."""
    spec = MachineSpec(
        name="bench", boot=start, accelerator=Accelerator.TCG, reboots=False,
        disks=(Disk(image=disk, size=DISK_SIZE),),
    )  # fmt: skip
    unit = UNIT.format(program=program, extra=extra).replace("@IDLE@", str(IDLE_S))
    with VM(spec=spec, units={"bench.service": unit}) as vm:
        vm.wait_for_line("BENCH-END", timeout_s=LIMIT_S)
        return read(vm.console.replace("\r", ""))


def quoted(code: str) -> str:
    """Return Python code as one argument of a unit's command."""
    escaped = code.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"' + escaped.replace("\n", "\\n") + '"'


def main() -> None:
    """Measure both and print the ratios."""
    plain = peer.make()
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as name:
        out = Path(name)
        variant = repository_root() / "tests/boot/probe"
        manifest = pipeline.build_variant(str(variant), out=out, progress=SILENT)
        path = {output.kind: out / output.file for output in manifest.outputs}
        ours = DirectKernel(
            kernel=path["kernel"], initrd=path["initrd"], command_line=manifest.command_line
        )
        program = f"/usr/bin/python3.13 -I -c {quoted(PYTHON)}"
        a = measure(path["disk"], ours, program=program, extra=AGENT)
        b = measure(plain.disk, plain.boot, program=SHELL)
    rows = [
        Row("memory in use at idle", a.used_mib, b.used_mib, "MiB", 0.6),
        Row(
            "sum of all processes' shares",
            sum(a.processes.values()),
            sum(b.processes.values()),
            "MiB",
        ),
        Row("listening sockets of the network", a.inet, b.inet, ""),
        Row("listening Unix sockets", a.unix, b.unix, ""),
    ]
    show("idle", f"Debian 13, mmdebstrap --variant={peer.VARIANT}", rows)
    for title, idle in (("ours", a), ("peer", b)):
        shares = ", ".join(f"{n} {size:.1f}" for n, size in idle.processes.items() if size >= 0.1)
        print(f"{title}: {shares} (MiB)")


if __name__ == "__main__":
    main()
