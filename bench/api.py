"""What the node's API costs: how long an answer takes, and what it uses while it serves and while it does not.

    ./bulkhead python -m bench.api [--no-boot] [TIMES]

A unit inside the machine asks on `/run/api.sock`, so that no network is in the
figures: TIMES (20) times while the service runs, three times when it has left,
and once before it has ever run. Then the machine starts with counted
instructions, as in `bench.boot`: with the agents masked, with them, and with
settings of the node that the start has to apply. The image is the test variant
`probe`, which takes units from the machine's firmware.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import msgspec

from bench import ours
from bench.table import Row, show
from bulkhead.client.connection import Connection
from bulkhead.machine.files import REPORT_PORT
from bulkhead.machine.spec import Accelerator, DirectKernel, Disk, MachineSpec
from bulkhead.model.channel import Channel
from bulkhead.testing.vm import VM

LIMIT_S = 900.0
DISK_SIZE = 4 << 30
PORT = 7434
TOKEN = "0123456789abcdef" * 4
AGENTS = (
    "bulkhead-api.socket", "bulkhead-api-channel.socket", "bulkhead-api-reboot.socket",
    "bulkhead-apply.socket", "bulkhead-apply-boot.service",
)  # fmt: skip
SETTINGS = {
    "motd": "bench",
    "network": {"hostname": "bench"},
    "kernel": {"sysctl": {"vm.swappiness": "7"}},
    "ntp": {"time-servers": ["time.example.org"]},
}
GUEST = """\
import json, os, socket, sys, time
GROUP = '/run/cgroup/system.slice/bulkhead-api.service/'
def processes():
    try:
        return open(GROUP + 'cgroup.procs').read().split()
    except OSError:
        return []
def ask(path='/settings', keep=False):
    s = socket.socket(socket.AF_UNIX)
    begun = time.perf_counter()
    s.connect('/run/api.sock')
    s.sendall(('GET %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' % path).encode())
    answer = s.recv(65536)
    took = time.perf_counter() - begun
    assert answer.startswith(b'HTTP/1.1 200'), answer
    if keep:
        return s
    s.close()
    return took
def gone():
    begun = time.monotonic()
    while processes():
        time.sleep(0.2)
    return time.monotonic() - begun
first = ask()
warm = [ask() for _ in range(@TIMES@)]
held = ask(keep=True)
share = sum(int(line.split()[1]) for pid in processes()
            for line in open('/proc/%s/smaps_rollup' % pid) if line.startswith('Pss:'))
serving = dict(count=len(processes()), share=share, cgroup=int(open(GROUP + 'memory.current').read()))
held.close()
left = gone()
cold = []
for _ in range(3):
    cold.append(ask())
    gone()
print('BENCH ' + json.dumps(dict(first=first, warm=warm, cold=cold, serving=serving, left=left,
                                 idle=len(processes()))), flush=True)
"""
UNIT = f"""\
[Unit]
After=containerd.service bulkhead-api.socket
StartLimitIntervalSec=0
[Service]
Type=oneshot
# The port may not be there yet.
Restart=on-failure
RestartSec=1
StandardOutput=file:/dev/virtio-ports/{REPORT_PORT}
StandardError=journal+console
RootDirectory=/usr/lib/bulkhead/agent
MountAPIVFS=yes
BindPaths=/run/api.sock
BindReadOnlyPaths=/sys/fs/cgroup:/run/cgroup
ExecStart=/usr/bin/python3.13 -I -c @CODE@
"""


class Serving(msgspec.Struct, frozen=True):
    """What the service uses with one connection open."""

    count: int
    share: int
    """Proportional set size of its processes, KiB."""
    cgroup: int
    """Bytes that its control group is charged with, files that it was the first to read included."""


class Asked(msgspec.Struct, frozen=True):
    """What the unit in the machine found; times in seconds."""

    first: float
    warm: list[float]
    cold: list[float]
    serving: Serving
    left: float
    """From the end of the last connection until no process was left."""
    idle: int
    """Processes after that."""


class Starts(msgspec.Struct, frozen=True, kw_only=True):
    """Virtual seconds from the start of the kernel until containerd answers."""

    first: float
    again: float
    with_settings: float | None = None


def quoted(code: str) -> str:
    """Return Python code as one argument of a unit's command."""
    escaped = code.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"' + escaped.replace("\n", "\\n") + '"'


def spec(disk: Path, start: DirectKernel, *, counted: bool) -> MachineSpec:
    """Return the machine of all figures."""
    return MachineSpec(
        name="bench", boot=start, accelerator=Accelerator.TCG, reboots=False,
        instructions_shift=0 if counted else None, cpus=1 if counted else 2,
        disks=(Disk(image=disk, size=DISK_SIZE),),
    )  # fmt: skip


def answers(disk: Path, start: DirectKernel, *, times: int) -> Asked:
    """Ask inside a machine."""
    unit = UNIT.replace("@CODE@", quoted(GUEST.replace("@TIMES@", str(times))))
    with VM(spec=spec(disk, start, counted=False), units={"bench.service": unit}) as vm:
        report = vm.wait_for_report("BENCH (.*)", timeout_s=LIMIT_S)
        return msgspec.json.decode(report[1], type=Asked)


def starts(disk: Path, start: DirectKernel, *, masked: bool) -> Starts:
    """Start a machine with counted instructions: first, again, and with settings to apply."""
    if masked:
        words = " ".join(f"systemd.mask={unit}" for unit in AGENTS)
        start = msgspec.structs.replace(start, command_line=f"{start.command_line} {words}")
    with VM(
        spec=spec(disk, start, counted=True), forwards=(PORT,), accelerator="tcg",
        credentials={"bulkhead.channel-token": TOKEN.encode()},
    ) as vm:  # fmt: skip
        first = until_ready(vm)
        again = once_more(vm)
        if masked:
            return Starts(first=first, again=again)
        connection = Connection(Channel(host="127.0.0.1", port=vm.port(PORT), token=TOKEN))
        with connection.open("PATCH", "/settings?tx=bench", body=msgspec.json.encode(SETTINGS)):
            pass
        with connection.open("POST", "/tx/commit_and_apply?tx=bench", timeout_s=LIMIT_S):
            pass
        return Starts(first=first, again=again, with_settings=once_more(vm))


def until_ready(vm: VM) -> float:
    """Return the guest's clock when containerd answered."""
    return int(vm.wait_until_ready(timeout_s=LIMIT_S)["ActiveEnterTimestampMonotonic"]) / 1e6


def once_more(vm: VM) -> float:
    """Switch the machine off and on, with the same disk."""
    vm.power_off(timeout_s=LIMIT_S)
    vm.start()
    return until_ready(vm)


def main() -> None:
    """Measure and print."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    times = numbers[0] if numbers else 20
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as name:
        image = ours.make(ours.PROBE, Path(name))
        disk, start = image.disk, image.boot
        tell(answers(disk, start, times=times))
        if "--no-boot" in sys.argv:
            return
        usual = starts(disk, start, masked=False)
        masked = starts(disk, start, masked=True)
    rows = [
        Row("first start, instructions counted", usual.first, masked.first, "s", 1.02),
        Row("second start", usual.again, masked.again, "s", 1.02),
    ]
    if usual.with_settings is not None:
        with_settings = usual.with_settings
        rows.append(Row("with settings to apply", with_settings, masked.again, "s"))
    show("start", "the same machine with the agents masked", rows)


def tell(asked: Asked) -> None:
    """Print what was found inside the machine."""
    rows = (
        ("answer, service running", 1e3 * statistics.median(asked.warm), "ms"),
        ("answer, service not running", 1e3 * statistics.median(asked.cold), "ms"),
        ("answer, first after the start", 1e3 * asked.first, "ms"),
        ("processes while it serves", asked.serving.count, ""),
        ("  their share of memory", asked.serving.share / 1024, "MiB"),
        ("  charged to the control group", asked.serving.cgroup / 2**20, "MiB"),
        ("gone after the last connection", asked.left, "s"),
        ("processes then", asked.idle, ""),
    )
    for what, value, unit in rows:
        print(f"{what:36}{value:10.1f} {unit}".rstrip())
    print(flush=True)


if __name__ == "__main__":
    main()
