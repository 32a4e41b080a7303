"""Runs containerd as on a machine of its own: `python -m tests.support.contained JSON`.

First process of PID, mount, IPC and UTS namespaces; all ends with it, and it
ends with whoever started it. The programs see the tool tree as their root and
the directory that they share with the test at the same path as outside.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import TypedDict

from bulkhead.lib.sandbox_init import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MNT_DETACH,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    PR_SET_PDEATHSIG,
    SYS_PIVOT_ROOT,
    bind,
    call,
    mount,
)

_HYBRID = "/sys/fs/cgroup/unified"


class Job(TypedDict):
    """What to run."""

    tools: str
    """Root of the tool tree."""
    place: str
    """Directory that is the same inside and outside."""
    networks: list[str]
    """Files that become network namespaces."""
    commands: list[list[str]]
    env: dict[str, str]


def make_network(path: str) -> None:
    """Make a network namespace that lives as long as the mount on `path`."""
    Path(path).touch()
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    call("unshare", CLONE_NEWNET)
    mount("/proc/self/ns/net", path, None, MS_BIND)
    call("setns", own, CLONE_NEWNET)
    os.close(own)


def make_root(job: Job) -> str:
    """Make the root file system of the programs; return where it is."""
    root = f"{job['place']}/root"
    os.mkdir(root)
    mount("root", root, "tmpfs", 0)
    for name in ("usr", "proc", "sys", "dev", "run", "tmp", "etc", "var", job["place"].strip("/")):
        os.makedirs(f"{root}/{name}")
    for link in ("bin", "lib", "lib64", "sbin"):
        os.symlink(f"usr/{link}", f"{root}/{link}")
    bind(f"{job['tools']}/usr", f"{root}/usr", writable=False)
    for name in ("proc", "sys", "dev", job["place"].strip("/")):
        bind(f"/{name}", f"{root}/{name}", writable=True)
    return root


def enter(root: str) -> None:
    """Make a directory the root of the mount namespace; nothing else is in it then.

    chroot would not do: who joins a container's mount namespace comes to the root of that.
    """
    os.chdir(root)
    call("syscall", ctypes.c_long(SYS_PIVOT_ROOT[os.uname().machine]), ".", ".")
    call("umount2", ".", MNT_DETACH)
    os.chdir("/")


def start(argv: list[str], env: dict[str, str]) -> int:
    """Start a program; return its process."""
    pid = os.fork()
    if pid == 0:
        os.execve(argv[0], argv, env)
    return pid


def first(job: Job) -> None:
    """Be the first process: start the programs and reap until one of them has ended."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", 0)
    if os.path.isdir(_HYBRID):
        # crun takes cgroups of version 2 or 1, not both at once, which some machines have.
        call("umount2", _HYBRID, MNT_DETACH)
    for path in job["networks"]:
        make_network(path)
    enter(make_root(job))
    pids = {start(argv, job["env"]) for argv in job["commands"]}
    while os.wait()[0] not in pids:
        pass


def main() -> None:
    """Make the namespaces."""
    job: Job = json.loads(sys.argv[1])
    call("prctl", PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    call("unshare", CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
    pid = os.fork()
    if pid == 0:
        call("prctl", PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        first(job)
        os._exit(0)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
