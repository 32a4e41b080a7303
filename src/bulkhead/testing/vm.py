"""A virtual machine for tests: boots an image, waits for what it says, cleans up after itself.

    with VM(image=manifest_directory / "image.raw", units={"probe.service": PROBE}) as vm:
        vm.wait_until_ready()
        vm.wait_for_line(r"probe: (.*)")

The image itself is never written to: each machine has an overlay of its own. The guest signals that
it is ready; lines that it writes are looked for ten times a second. Every wait has a hard limit, and
a failure shows the end of the console. The machine ends with the test, even when it is killed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import msgspec

from bulkhead.build.tools import Tools, tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.machine import accelerate, files, launch, ports, process, qmp
from bulkhead.machine.process import Process
from bulkhead.machine.spec import Accelerator, Disk, Firmware, MachineSpec
from bulkhead.model.errors import HostError

BOOT_LIMIT_S = 240.0
"""TCG on two busy cores needs 30 s; whoever waits this long has lost."""


class VM:
    """One machine; a context manager that starts it and removes everything in the end.

    Args:
        image: raw disk image of the first disk.
        spec: what kind of machine it is, instead of UEFI on a PC; its name, accelerator,
            disks, forwards and credentials are filled in from the other arguments.
        extra_disks: more disks, each with an overlay of its own.
        disk_size: bytes of the first disk, if it is to be larger than the image.
        forwards: ports of the guest that are to be reached, see `port`.
        credentials: systemd credentials by name.
        units: systemd units by name, started with multi-user.target; the image stays as it is.
        accelerator: "auto", "kvm" or "tcg".
        tool_tree: the `vm` tools, if not those of the usual cache.
    """

    def __init__(
        self,
        image: Path | None = None,
        *,
        spec: MachineSpec | None = None,
        extra_disks: Sequence[Disk] = (),
        disk_size: int | None = None,
        forwards: Sequence[int] = (),
        credentials: Mapping[str, bytes] | None = None,
        units: Mapping[str, str] | None = None,
        accelerator: str = "auto",
        tool_tree: Tools | None = None,
    ) -> None:
        self.tools = tool_tree or tools("vm", cache=cache_dir(), progress=SILENT)
        choice = accelerate.choose(
            accelerator, tools=self.tools, cache=cache_dir(), progress=SILENT
        )
        self.credentials = {**(credentials or {}), **unit_credentials(units or {})}
        base = spec or MachineSpec(
            name="test", boot=Firmware(), accelerator=Accelerator.TCG, reboots=False
        )
        first = (Disk(image=image, size=disk_size),) if image is not None else ()
        self.spec: MachineSpec = msgspec.structs.replace(
            base,
            name="test",
            accelerator=choice.accelerator,
            disks=(*first, *base.disks, *extra_disks),
            forwards=ports.choose(forwards),
            credentials=tuple(self.credentials),
            report=base.ready,
        )
        self.directory = Path(tempfile.mkdtemp(prefix="bulkhead-vm-"))
        self._qemu: subprocess.Popen[bytes] | None = None
        self._said: dict[str, str] = {}

    def __enter__(self) -> VM:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"console of the machine{launch.tail_of(self.directory)}")
        self.close()

    def prepare(self) -> None:
        """Make the machine's files; for tests that change them before `start`."""
        launch.prepare(self.directory, self.spec, tools=self.tools, credentials=self.credentials)

    def start(self) -> None:
        """Start the machine; again, with the same disks, after it has ended.

        Raises:
            HostError: QEMU does not start.
        """
        if self._qemu is not None:
            self.kill()  # it has ended; this collects what is left of it
            self.prepare()  # keeps overlays and variables
        self._said = {}
        self._qemu = launch.start(self.directory, self.spec, tools=self.tools, detached=False)
        launch.wait_for_control(self.directory, self.process)

    def wait_until_ready(self, *, timeout_s: float = BOOT_LIMIT_S) -> dict[str, str]:
        """Wait until containerd answers; return what bulkhead-ready.service says of it, by key.

        Raises:
            HostError: the machine ended or said nothing in time.
        """
        return self._wait_for(launch.READY_KEY, timeout_s)

    def failed_units(self) -> int:
        """Wait until the whole start is over; return how many units have failed.

        Raises:
            HostError: the machine ended or said nothing in time.
        """
        return int(self._wait_for(launch.LAST_KEY, BOOT_LIMIT_S)[launch.LAST_KEY])

    def _wait_for(self, key: str, timeout_s: float) -> dict[str, str]:
        """Return all that the guest said since its start, `key` among it; it says each once."""
        if key not in self._said:
            self._said |= launch.wait_until_ready(
                self.directory, self.process, timeout_s=timeout_s, last=key
            )
        return self._said

    def wait_for_line(self, pattern: str, *, timeout_s: float = BOOT_LIMIT_S) -> re.Match[str]:
        """Wait for a whole line on the console in which `pattern` is found; return the match.

        Lines from the machine's start on count, so it does not matter who is first.

        Raises:
            HostError: the machine ended or the time is over.
        """
        return self._wait_for_match(pattern, lambda: self.console, "write", timeout_s=timeout_s)

    def wait_for_report(
        self, pattern: str, *, after: int = 0, timeout_s: float = BOOT_LIMIT_S
    ) -> re.Match[str]:
        """Wait for a whole line of `report` in which `pattern` is found; return the match.

        Args:
            pattern: a regular expression.
            after: characters of `report` that do not count, because they were there before.
            timeout_s: how long.

        Raises:
            HostError: the machine ended or the time is over.
        """
        return self._wait_for_match(
            pattern, lambda: self.report[after:], "report", timeout_s=timeout_s
        )

    def _wait_for_match(
        self, pattern: str, said: Callable[[], str], verb: str, *, timeout_s: float
    ) -> re.Match[str]:
        deadline = time.monotonic() + timeout_s
        ended = False
        while True:
            for line in said().split("\n")[:-1]:
                if match := re.search(pattern, line):
                    return match
            if ended:
                raise HostError(f"the machine ended and did not {verb} {pattern!r}")
            if time.monotonic() > deadline:
                raise HostError(f"the machine did not {verb} {pattern!r} within {timeout_s:g} s")
            # Not a sleep: it returns at once when QEMU ends.
            ended = process.wait_for_end(self.process, timeout_s=0.1)

    def wait_for_end(self, *, timeout_s: float = BOOT_LIMIT_S) -> int:
        """Wait until the machine has powered off (or reset, with `reboots=False`).

        Returns:
            QEMU's exit code.

        Raises:
            HostError: it still runs.
        """
        assert self._qemu is not None
        try:
            return self._qemu.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise HostError(
                f"the machine still runs after {timeout_s:g} s{launch.tail_of(self.directory)}"
            ) from None

    def power_off(self, *, timeout_s: float = 60.0) -> bool:
        """Ask the guest to power off; return whether it did by itself."""
        return launch.stop(self.directory, self.process, timeout_s=timeout_s)

    def kill(self) -> None:
        """Cut the power: what the guest has not flushed is lost, what it has is not."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()

    def corrupt(self, offset: int, *, disk: int = 0) -> None:
        """Change one byte of a disk's overlay, while the machine does not run."""
        backing = self.spec.disks[disk].image
        overlay = self.directory / files.overlay(disk)
        with backing.open("rb") as file:
            file.seek(offset)
            old = file.read(1)[0]
        self.tools.run(
            ["qemu-io", "-f", "qcow2", "-c", f"write -q -P {old ^ 0xFF} {offset} 1", overlay.name],
            reads=[backing], writes=[self.directory], cwd=self.directory,
        )  # fmt: skip

    def control(self) -> AbstractContextManager[qmp.Qmp]:
        """Connect to QEMU's control socket."""
        return qmp.connect(self.directory)

    def port(self, guest_port: int) -> int:
        """Return the loopback port that leads to a port of `forwards`."""
        return next(f.host_port for f in self.spec.forwards if f.guest_port == guest_port)

    @property
    def console(self) -> str:
        """All that the machine wrote to its console so far."""
        return launch.console(self.directory)

    @property
    def report(self) -> str:
        """What units of the guest wrote to REPORT_PORT so far; nothing else is in it."""
        return launch.report(self.directory)

    @property
    def process(self) -> Process:
        """QEMU."""
        assert self._qemu is not None
        return process.identify(self._qemu.pid)

    def close(self) -> None:
        """End the machine and remove its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def unit_credentials(units: Mapping[str, str]) -> dict[str, bytes]:
    """Return the credentials that make systemd load these units and start them at boot."""
    if not units:
        return {}
    found = {f"systemd.extra-unit.{name}": text.encode() for name, text in units.items()}
    wants = "".join(f"Wants={name}\n" for name in units)
    found["systemd.unit-dropin.multi-user.target~tests"] = f"[Unit]\n{wants}".encode()
    return found
