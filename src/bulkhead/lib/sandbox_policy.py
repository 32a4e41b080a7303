"""Which system calls a program in a sandbox may not make.

Capabilities decide about most of what could hurt the machine, and a sandbox has almost none. This
is for what the kernel lets anybody do: make namespaces in which one is root again, and reach
other processes of the same user. `sandbox_init` turns the rules into a seccomp filter
(seccomp(2)); this is data, so that it can be read and tested.
"""

from __future__ import annotations

import errno
import platform
import sys
from typing import Literal, NamedTuple

from bulkhead.model.errors import HostError

Test = Literal["always", "any bit", "equal", "not own process"]
ANY = 0xFFFFFFFF
"""All bits of a 32-bit argument: `any bit` of it is "not zero"."""
NAMESPACES = 0x7E020080
"""CLONE_NEWNS, -TIME, -CGROUP, -UTS, -IPC, -USER, -PID and -NET of clone(2)."""
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15
FIOSETOWN, SIOCSPGRP = 0x8901, 0x8902


class Rule(NamedTuple):
    """A system call that fails, and when."""

    number: int
    argument: int = 0
    """The argument that `test` looks at, from 0."""
    test: Test = "always"
    value: int = 0
    error: int = errno.EPERM


# include/uapi/asm-generic/unistd.h and arch/x86/entry/syscalls/syscall_64.tbl of the kernel.
_NUMBERS = {
    "x86_64": {
        "add_key": 248, "bpf": 321, "clone": 56, "fcntl": 72, "ioctl": 16, "keyctl": 250,
        "kill": 62, "open_by_handle_at": 304, "perf_event_open": 298, "prlimit64": 302,
        "process_vm_readv": 310, "process_vm_writev": 311, "ptrace": 101, "request_key": 249,
        "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "setns": 308, "syslog": 103,
        "tgkill": 234, "tkill": 200, "unshare": 272,
    },
    "aarch64": {
        "add_key": 217, "bpf": 280, "clone": 220, "fcntl": 25, "ioctl": 29, "keyctl": 219,
        "kill": 129, "open_by_handle_at": 265, "perf_event_open": 241, "prlimit64": 261,
        "process_vm_readv": 270, "process_vm_writev": 271, "ptrace": 117, "request_key": 218,
        "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "setns": 268, "syslog": 116,
        "tgkill": 131, "tkill": 130, "unshare": 97,
    },
}  # fmt: skip
_EVERYWHERE = {"clone3": 435, "pidfd_getfd": 438, "pidfd_send_signal": 424}

_NEVER = (
    "add_key", "bpf", "keyctl", "open_by_handle_at", "perf_event_open", "pidfd_getfd",
    "process_vm_readv", "process_vm_writev", "ptrace", "request_key", "setns", "syslog", "unshare",
)  # fmt: skip
_TO_OTHER_PROCESSES = (
    "kill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill",
)  # fmt: skip


def rules(*, own_processes: bool, machine: str | None = None) -> list[Rule]:
    """Return the rules for a program.

    Args:
        own_processes: it sees the processes of its PID namespace alone. Without one it may not
            signal any but itself.
        machine: as `uname -m` says it; this one by default.

    Raises:
        HostError: the numbers of its system calls are not known here.
    """
    machine = machine or platform.machine()
    if machine not in _NUMBERS or sys.byteorder != "little":
        raise HostError(f"there are no sandboxes for {machine} machines")
    numbers = _NUMBERS[machine] | _EVERYWHERE
    found = [Rule(numbers[name]) for name in _NEVER]
    found.append(Rule(numbers["clone"], 0, "any bit", NAMESPACES))
    # Its flags are behind a pointer; libc then takes clone, whose flags can be seen.
    found.append(Rule(numbers["clone3"], error=errno.ENOSYS))
    if own_processes:
        return found
    found += [Rule(numbers[name]) for name in _TO_OTHER_PROCESSES]
    found.append(Rule(numbers["tgkill"], 0, "not own process"))
    found.append(Rule(numbers["prlimit64"], 0, "any bit", ANY))
    # The kernel sends signals for files too, to whoever owns them.
    found += [
        Rule(numbers["fcntl"], 1, "equal", what) for what in (F_SETOWN, F_SETSIG, F_SETOWN_EX)
    ]
    found += [Rule(numbers["ioctl"], 1, "equal", what) for what in (FIOSETOWN, SIOCSPGRP)]
    return found
