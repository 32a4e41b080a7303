"""Processes that outlive us, told apart from others that get the same number later."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import msgspec


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process, for all time: numbers are used again, start times are not."""

    pid: int
    started: int
    """Clock ticks after the machine's boot (`starttime` of proc_pid_stat(5))."""
    boot: str
    """Which boot of the machine that is."""


def boot_id() -> str:
    """Return the identity of this boot of the workstation."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Process:
    """Return the process that has this number now.

    Raises:
        ProcessLookupError: there is none.
    """
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(pid)
    return Process(pid=pid, started=stat[1], boot=boot_id())


def is_alive(process: Process) -> bool:
    """Tell whether it still runs; a zombie does not."""
    stat = _stat(process.pid)
    if stat is None or process.boot != boot_id():
        return False
    state, started = stat
    return started == process.started and state not in "ZX"


def wait_for_end(process: Process, *, timeout_s: float) -> bool:
    """Wait until it has ended; return False if it has not within the time."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_alive(process):
            return True
        watch = select.poll()
        watch.register(descriptor, select.POLLIN)
        return bool(watch.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)


def send_signal(process: Process, number: signal.Signals) -> None:
    """Signal this process and no other; nothing happens when it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor keeps the number from being used again, so what is true now stays true.
        if is_alive(process):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _stat(pid: int) -> tuple[str, int] | None:
    """Return a process's state and start time."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name, which may have spaces and parentheses in it.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
