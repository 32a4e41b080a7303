"""What a tool that went bad would try on the machine it runs on; prints what worked, one per line.

Run inside a sandbox: `python3 -I -S attack.py PID`, where PID is a process of the machine.
"""

import ctypes
import errno
import os
import signal
import socket
import struct
import sys

PTRACE_SEIZE, CLONE_NEWNS, CLONE_NEWUSER = 0x4206, 0x20000, 0x10000000
CALLS = {"x86_64": {"init_module": 175, "bpf": 321}, "aarch64": {"init_module": 105, "bpf": 280}}

libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    """Call a libc function that returns a negative number on failure."""
    ctypes.set_errno(0)
    if getattr(libc, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), function)


def system_call(name: str, *arguments: object) -> None:
    """Make a system call that libc has no function for."""
    number = CALLS[os.uname().machine][name]
    try:
        call("syscall", ctypes.c_long(number), *arguments)
    except OSError as error:
        # The call was let through and only its arguments were wrong.
        if error.errno not in (errno.EFAULT, errno.EINVAL, errno.ENOEXEC):
            raise


def asynchronous_signal(victim: int) -> None:
    """Have the kernel send a signal on behalf of a socket (fcntl(2), F_SETOWN)."""
    import fcntl

    here, there = socket.socketpair()
    fcntl.fcntl(here, fcntl.F_SETOWN, victim)
    fcntl.fcntl(here, fcntl.F_SETSIG, signal.SIGUSR1)
    fcntl.fcntl(here, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    there.send(b"x")


def write(path: str) -> None:
    """Open a file of the kernel for writing; nothing is written to it."""
    os.close(os.open(path, os.O_WRONLY))


def in_child(function: str, *arguments: object) -> None:
    """Call a libc function in a child: its effect must not change what follows."""
    child = os.fork()
    if child == 0:
        try:
            call(function, *arguments)
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError(errno.EPERM, function)


def attempts(victim: int) -> dict[str, object]:
    """Return all that is tried, by name."""
    import resource

    limits = struct.pack("qq", resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    return {
        "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None),
        "remount": lambda: call("mount", None, b"/usr", None, ctypes.c_ulong(32 | 4096), None),
        "unmount": lambda: call("umount2", b"/usr", 2),
        "chroot": lambda: in_child("chroot", b"/tmp"),
        "mknod": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0)),
        "module": lambda: system_call("init_module", b"", ctypes.c_ulong(0), b""),
        "bpf": lambda: system_call("bpf", 0, b"\0" * 128, 128),
        "chown": lambda: os.chown("/tmp/own", 1234, 1234),
        "host name": lambda: call("sethostname", b"evil", ctypes.c_size_t(4)),
        "mount namespace": lambda: in_child("unshare", CLONE_NEWNS),
        "user namespace": lambda: in_child("unshare", CLONE_NEWUSER),
        "core_pattern": lambda: write("/proc/sys/kernel/core_pattern"),
        "sysrq": lambda: write("/proc/sysrq-trigger"),
        "signal": lambda: os.kill(victim, signal.SIGUSR1),
        "thread signal": lambda: call("tgkill", victim, victim, int(signal.SIGUSR1)),
        "pidfd signal": lambda: signal.pidfd_send_signal(os.pidfd_open(victim), signal.SIGUSR1),
        "asynchronous signal": lambda: asynchronous_signal(victim),
        "ptrace": lambda: call("ptrace", PTRACE_SEIZE, victim, None, None),
        "limits": lambda: call("prlimit", victim, resource.RLIMIT_CORE, limits, None),
        "memory": lambda: write(f"/proc/{victim}/mem"),
        "files": lambda: os.listdir(f"/proc/{victim}/root/"),
        "kernel log": lambda: call("klogctl", 3, ctypes.create_string_buffer(99), 99),
    }  # fmt: skip


def main() -> None:
    """Try everything."""
    with open("/tmp/own", "w"):
        pass
    for name, attempt in attempts(int(sys.argv[1])).items():
        try:
            attempt()  # type: ignore[operator]  # a table of functions
        except OSError:
            continue
        print(name)


if __name__ == "__main__":
    main()
