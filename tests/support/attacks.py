"""What somebody would try who has taken an agent over: run in its place, on a booted machine.

    python3 -I -c SOURCE AGENT

Prints the attempts that were not refused.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bulkhead.host.containers import kernel, requests
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.sandboxes import show_on_machine

PLACE = Path("/tmp")
SYS_INIT_MODULE, SYS_BPF = 175, 321  # of x86-64

Attack = Callable[[], object]


def call(name: str, *arguments: object) -> None:
    """Call a function of libc."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def mount(kind: str, options: str = "", source: str = "x") -> None:
    """Mount a file system where only the agent sees it."""
    call(
        "mount", source.encode(), os.fsencode(PLACE), kind.encode(), ctypes.c_ulong(0),
        options.encode(),
    )  # fmt: skip


def mount_and_open(kind: str, file: str) -> None:
    """Mount a file system of the kernel's and open a file in it for writing."""
    mount(kind)
    try:
        os.close(os.open(PLACE / file, os.O_WRONLY))
    finally:
        kernel.unmount(PLACE)


def connect(name: str) -> None:
    """Reach another agent."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/run/bulkhead-agents/{name}.sock")


def give_out_root() -> None:
    """Make a user namespace whose root is the machine's."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        kernel.unshare(kernel.NEW_USERS)
        os.write(writer, b"\n")
        signal.pause()
    try:
        os.read(reader, 1)
        Path(f"/proc/{pid}/uid_map").write_text("0 0 65536\n")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


EVERY: Mapping[str, Attack] = {
    "the Internet": lambda: socket.socket(socket.AF_INET),
    "another user": lambda: os.setresuid(1000, 1000, 1000),
    "root": lambda: os.setresuid(0, 0, 0) if os.getuid() else os.setgroups([0]),
    "the kernel's parameters": lambda: Path("/proc/sys/kernel/core_pattern").write_text("|/x"),
    "the settings": lambda: os.listdir("/var/lib/bulkhead/settings"),
    "the API": lambda: os.stat("/run/api.sock"),
    "the container service": lambda: os.stat("/run/bulkhead/containers.sock"),
    "the first process's files": lambda: os.listdir("/proc/1/root"),
    "a module": lambda: call("syscall", SYS_INIT_MODULE, b"", 0, b""),
    "eBPF": lambda: call("syscall", SYS_BPF, 0, b"", 0),
    "a device": lambda: os.mknod(PLACE / "disk", 0o60600, os.makedev(254, 0)),
}
NO_MOUNTS: Mapping[str, Attack] = {
    "a mount": lambda: mount("tmpfs"),
    "a mount namespace": lambda: kernel.unshare(kernel.NEW_MOUNTS),
    "the layers of images": lambda: os.listdir("/var/lib/containerd"),
}
NO_NAMESPACES: Mapping[str, Attack] = {
    "a user namespace": lambda: kernel.unshare(kernel.NEW_USERS),
    "a network namespace": lambda: kernel.unshare(kernel.NEW_NETWORK),
}
NO_RECORDS: Mapping[str, Attack] = {
    "a record": lambda: (Places().records / "web.json").write_text("{}"),
}
NO_NETLINK: Mapping[str, Attack] = {
    "interfaces": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
}


def sandboxes() -> Mapping[str, Attack]:
    """Start as the sandbox program does; return what it may not do after that."""
    given = requests.given()
    machine, places = os.dup(given["machine"]), Places()
    show_on_machine((places.namespaces, places.sandboxes), given["machine"])
    return {
        "the machine's mounts": lambda: kernel.enter(machine, kernel.NEW_MOUNTS),
        "parameters by a mount": lambda: mount_and_open("proc", "sys/kernel/core_pattern"),
        "the disk": lambda: mount_and_open("devtmpfs", "vda"),
        "the disk's files": lambda: mount("ext4", source="/dev/vda4"),
        "a program of root's by cgroups": lambda: mount("cgroup", "none,name=x"),
    }


def main() -> None:
    """Try all of it."""
    agent = sys.argv[1]
    own: Mapping[str, Callable[[], Mapping[str, Attack]]] = {
        "network": lambda: {
            **NO_MOUNTS, **NO_NAMESPACES,
            "the makers of namespaces": lambda: connect("namespaces"),
        },
        "volumes": lambda: {**NO_MOUNTS, **NO_NAMESPACES, **NO_RECORDS, **NO_NETLINK},
        "namespaces": lambda: {
            **NO_MOUNTS, **NO_RECORDS, "root's number": give_out_root,
            "another's namespace": lambda: kernel.enter(
                os.open("/proc/self/ns/net", os.O_RDONLY), kernel.NEW_NETWORK
            ),
        },
        "sandboxes": lambda: {**NO_NAMESPACES, **NO_RECORDS, **NO_NETLINK, **sandboxes()},
    }  # fmt: skip
    attacks = {**EVERY, **own[agent]()}
    succeeded = []
    for name, attack in attacks.items():
        try:
            attack()
        except OSError:
            continue
        succeeded.append(name)
    print(f"{agent} of {len(attacks)} not refused: {succeeded}", flush=True)


if __name__ == "__main__":
    main()
