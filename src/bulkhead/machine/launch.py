"""Starts QEMU, waits for the guest's word, and stops it.

Used by `bulkhead up` and by tests alike. A machine is a directory (see
`files.py`) and a process.
"""

from __future__ import annotations

import base64
import os
import re
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bulkhead.build.tools import Tools
from bulkhead.lib import atomicfile, run, sandbox
from bulkhead.lib.dirs import absolute
from bulkhead.machine import files, process, qemu, qmp
from bulkhead.machine.process import Process
from bulkhead.machine.spec import Accelerator, DirectKernel, Disk, Firmware, MachineSpec
from bulkhead.model.arch import AMD64, Architecture
from bulkhead.model.errors import HostError, UserError

READY_KEY = "ActiveEnterTimestampMonotonic"
"""What the guest writes when containerd answers, see bulkhead-ready.service."""
LAST_KEY = "NFailedUnits"
"""What bulkhead-started.service writes last, when the whole start is over."""
SLOT = "slot"
"""The slot that runs, among what a machine said by key."""

TAIL_LINES = 25
_QMP_GRACE_S = 10.0
_CONTROL = re.compile(
    r"\x1b\[[0-9;?=!]*[a-zA-Z]"  # cursor, colours, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and palettes
    r"|\x1b[()][A-Z0-9]|\x1b[=>cM78]|[\x00-\x08\x0b-\x1f]"
)


def prepare(
    directory: Path,
    spec: MachineSpec,
    *,
    tools: Tools,
    credentials: Mapping[str, bytes] | None = None,
) -> None:
    """Make the files that a machine needs to start; overlays and variables are kept if there.

    Args:
        directory: the machine's.
        spec: what will be started.
        tools: the `vm` tools.
        credentials: values of `spec.credentials`.

    Raises:
        UserError: an image does not exist, or a disk is smaller than its image.
    """
    for index, disk in enumerate(spec.disks):
        if not (directory / files.overlay(index)).exists():
            make_overlay(directory / files.overlay(index), disk, tools=tools)
    if isinstance(spec.boot, Firmware) and not (directory / files.VARIABLES).exists():
        source = spec.boot.variables or tools.root / qemu.EMPTY_VARIABLES.lstrip("/")
        atomicfile.write(directory / files.VARIABLES, source.read_bytes(), mode=0o600)
    for name in (files.READY_IN, files.READY_OUT):
        # A new one each time: the old one may hold what an earlier boot said.
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name, 0o600)
    for name in (
        files.CONSOLE_LOG,
        files.REPORT,
        files.ERRORS,
        files.QMP_SOCKET,
    ):
        (directory / name).unlink(missing_ok=True)
    values = credentials or {}
    for index, name in enumerate(spec.credentials):
        encoded = base64.b64encode(values[name]).decode()
        text = f"io.systemd.credential.binary:{name}={encoded}"
        atomicfile.write(directory / files.credential(index), text, mode=0o600)


def make_overlay(path: Path, disk: Disk, *, tools: Tools) -> None:
    """Make an empty qcow2 file that reads as the image."""
    image = absolute(disk.image)
    if not image.is_file():
        raise UserError("there is no such image", where=str(image))
    size = [] if disk.size is None else [str(disk.size)]
    if disk.size is not None and disk.format == "raw" and disk.size < image.stat().st_size:
        raise UserError(
            f"the disk would have {disk.size} bytes, the image has {image.stat().st_size}",
            where=str(image), hint="give the disk more room",
        )  # fmt: skip
    tools.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", disk.format, "-b", str(image), path.name,
         *size],
        reads=[image], writes=[path.parent], cwd=path.parent,
    )  # fmt: skip


def start(
    directory: Path,
    spec: MachineSpec,
    *,
    tools: Tools,
    detached: bool,
    arch: Architecture = AMD64,
) -> subprocess.Popen[bytes]:
    """Start QEMU and return it as soon as it runs or has failed.

    Args:
        directory: the machine's, prepared.
        spec: what to start.
        tools: the `vm` tools.
        detached: it lives on when this process ends; otherwise it ends with the thread that
            called this, whatever happens to it.
        arch: the guest's architecture.
    """
    boot = spec.boot
    reads = [absolute(disk.image) for disk in spec.disks]
    if isinstance(boot, DirectKernel):
        reads += [path for path in (boot.kernel, boot.initrd) if path is not None]
    box = sandbox.Sandbox(
        root=tools.root,
        reads=reads,
        writes=[directory],
        devices=["kvm"] if spec.accelerator is Accelerator.KVM else [],
        network=spec.network,
        cwd=directory,
        own_processes=False,
        dies_with_us=not detached,
    )
    command = sandbox.command(box, qemu.command_line(spec, arch=arch))
    with open(directory / files.ERRORS, "wb") as errors:
        return run.spawn(command, stdout=errors, stderr=errors, new_session=True)


def wait_for_control(directory: Path, qemu_process: Process, *, timeout_s: float = 30.0) -> None:
    """Wait until QEMU has made the machine and answers on its control socket.

    Raises:
        HostError: QEMU ended, with its reason; or it takes too long.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        # It listens before it makes the machine, and answers when that has worked.
        with suppress(HostError), qmp.connect(directory):
            return
        # Not a sleep: it returns at once when QEMU ends.
        if process.wait_for_end(qemu_process, timeout_s=0.01):
            raise ended(directory)
        if time.monotonic() > deadline:
            raise HostError("QEMU does not start", where=str(directory / files.ERRORS))


def wait_until_ready(
    directory: Path, qemu_process: Process, *, timeout_s: float, last: str = READY_KEY
) -> dict[str, str]:
    """Wait until the guest says that containers can run; return what it said, by key.

    Args:
        directory: the machine's.
        qemu_process: its QEMU.
        timeout_s: how long to wait.
        last: the key to wait for; LAST_KEY for all of them.

    Raises:
        HostError: QEMU ended, or the guest said nothing in time; has the end of the console.
    """
    descriptor = os.open(directory / files.READY_OUT, os.O_RDONLY | os.O_NONBLOCK)
    try:
        text = _read_until_key(directory, qemu_process, descriptor, last, timeout_s)
    finally:
        os.close(descriptor)
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    said = {key: value.strip() for key, _, value in lines}
    if slot := _slot_in(text):
        said[SLOT] = slot
    return said


def running_slot(directory: Path, *, timeout_s: float = 6.0) -> str | None:
    """Return the slot that the guest said it runs from, or None if it does not say in time.

    The guest says it a moment after it is ready, and what was read is out of the FIFO: ask once,
    and only if `wait_until_ready` has not got it.
    """
    deadline = time.monotonic() + timeout_s
    text = ""
    try:
        descriptor = os.open(directory / files.READY_OUT, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        watch = select.poll()
        watch.register(descriptor, select.POLLIN)
        while watch.poll(max(0.0, deadline - time.monotonic()) * 1000):
            chunk = os.read(descriptor, 4096)
            text += chunk.decode(errors="replace")
            if slot := _slot_in(text):
                return slot
            if not chunk:  # QEMU has gone
                break
    finally:
        os.close(descriptor)
    return None


def _slot_in(text: str) -> str | None:
    match = re.search(r"^slot (\w+),.*\n", text, re.MULTILINE)
    return match[1] if match else None


def _read_until_key(
    directory: Path, qemu_process: Process, ready: int, key: str, timeout_s: float
) -> str:
    deadline = time.monotonic() + timeout_s
    text = ""
    try:
        qemu_descriptor = os.pidfd_open(qemu_process.pid)
    except ProcessLookupError:
        raise ended(directory) from None
    with selectors.DefaultSelector() as selector:
        selector.register(qemu_descriptor, selectors.EVENT_READ)
        # Nobody writes until QEMU has opened it, and without a writer a FIFO is at its end:
        # ours keeps it open.
        writer = os.open(directory / files.READY_OUT, os.O_WRONLY | os.O_NONBLOCK)
        selector.register(ready, selectors.EVENT_READ)
        try:
            while not re.search(rf"^{key}=.*\n", text, re.MULTILINE):
                events = selector.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    raise HostError(
                        f"the machine did not get ready within {timeout_s:g} s"
                        + tail_of(directory),
                        where=str(directory / files.CONSOLE_LOG),
                    )
                if any(source.fd == ready for source, _ in events):
                    text += os.read(ready, 4096).decode(errors="replace")
                elif not process.is_alive(qemu_process):
                    raise ended(directory)
        finally:
            os.close(writer)
            os.close(qemu_descriptor)
    return text


def ended(directory: Path) -> HostError:
    """Return the error that says why QEMU is gone."""
    errors = _text(directory / files.ERRORS)
    sandbox.raise_failure(errors)
    lines = [line for line in errors.splitlines() if line.strip()]
    why = f": {lines[-1]}" if lines else ""
    return HostError(f"the machine ended before it was ready{why}{tail_of(directory)}")


def tail_of(directory: Path) -> str:
    """Return the end of a machine's console, for a message; "" if it is silent."""
    lines = [line.rstrip() for line in console(directory).splitlines() if line.strip()]
    if not lines:
        return ""
    return "; its console ends with:\n" + "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])


def console(directory: Path) -> str:
    """Return what a machine wrote to its console, without control sequences."""
    return clean(_text(directory / files.CONSOLE_LOG))


def report(directory: Path) -> str:
    """Return what a machine with `MachineSpec.report` wrote to its report port."""
    return _text(directory / files.REPORT)


def clean(text: str) -> str:
    """Return console output without control sequences."""
    return _CONTROL.sub("", text)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def stop(directory: Path, qemu_process: Process, *, timeout_s: float) -> bool:
    """Ask the guest to power off, and end QEMU in any case.

    Returns:
        Whether the guest powered off by itself.
    """
    if not process.is_alive(qemu_process):
        return True
    try:
        with qmp.connect(directory) as control:
            control.execute("system_powerdown")  # for guests with logind
            control.execute(
                "device_add", driver="virtserialport", id="poweroff", name=files.POWEROFF_PORT
            )
        if process.wait_for_end(qemu_process, timeout_s=timeout_s):
            return True
        with qmp.connect(directory) as control:
            control.execute("quit")
    except HostError:
        pass  # it does not answer, or it ended just now: the signal decides
    kill(qemu_process)
    return False


def kill(qemu_process: Process) -> None:
    """End QEMU at once, and wait until it has gone."""
    if not process.wait_for_end(qemu_process, timeout_s=0):
        process.send_signal(qemu_process, signal.SIGKILL)
        process.wait_for_end(qemu_process, timeout_s=_QMP_GRACE_S)
