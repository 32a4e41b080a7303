"""Runs a program with a directory as its root file system, on any Linux, without root.

The program sees the directory read-only, the paths that it is given at the same absolute paths as
outside, a fresh /tmp, /proc, a few devices, and nothing else of the machine. Ordinary users get
this from user namespaces; root from a mount namespace alone. Either way the program has no
capability but to open the files that it sees whoever owns them, and cannot reach other processes
(`sandbox_policy.py`). The work happens in `sandbox_init.py`, a process of its own.
"""

from __future__ import annotations

# ruff: noqa: S108  # the /tmp in here is a fresh one that nobody else can see
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from bulkhead.lib import run as runner
from bulkhead.lib import sandbox_init, sandbox_policy
from bulkhead.model.errors import Bug, HostError

ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/bin:/usr/sbin",
    "TMPDIR": "/tmp",
    "TZ": "UTC",
}
"""The environment of every program: the same on every machine, so that outputs are."""

_INIT = Path(sandbox_init.__file__)
_RESOLVER_FILES = ("/etc/resolv.conf", "/etc/hosts")


class SandboxFailed(HostError):
    """The sandbox itself could not be made; the program was not started."""


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """What a program may see and use."""

    root: Path
    """Directory that becomes `/`, read-only."""
    reads: Sequence[Path] = ()
    """Files and directories that it can read, at the same absolute paths as outside."""
    writes: Sequence[Path] = ()
    """The same, and it can change them."""
    devices: Sequence[str] = ()
    """Names below /dev beyond null, zero, full, random, urandom and tty, such as "kvm"."""
    network: bool = False
    """Share the machine's network; otherwise there is none."""
    own_processes: bool = True
    """All that the program starts ends with it. Without, the program *is* the process that was
    started, which is what a detached program wants."""
    dies_with_us: bool = True
    """Kill it when the process that starts it ends, however that ends."""
    cwd: Path | None = None
    """Working directory; /tmp by default."""
    privileged: bool = False
    """Keep what the caller may do: for tools that run package scripts as root."""


def command(
    sandbox: Sandbox, argv: Sequence[str], *, env: Mapping[str, str] | None = None
) -> list[str]:
    """Return the command that runs `argv` in the sandbox, for `lib.run.run` or `spawn`.

    Args:
        sandbox: what it may see.
        argv: a program of the root and its arguments.
        env: added to `ENVIRONMENT`.

    Raises:
        HostError: a path in `reads` or `writes` does not exist.
        Bug: the root is the machine's own, over which nothing can be mounted.
    """
    root = os.path.realpath(sandbox.root)
    if root == "/":
        raise Bug("a sandbox needs a root of its own", where=root)
    denied = sandbox_policy.rules(own_processes=sandbox.own_processes)
    spec: sandbox_init.Spec = {
        "root": root,
        "argv": list(argv),
        "env": {**ENVIRONMENT, **(env or {})},
        "cwd": str(sandbox.cwd or "/tmp"),
        "binds": _binds(sandbox),
        "devices": list(sandbox.devices),
        "network": sandbox.network,
        "processes": sandbox.own_processes,
        "parent": os.getpid() if sandbox.dies_with_us else 0,
        "denied": None if sandbox.privileged else denied,
    }
    # -I -S: neither the user's environment nor site-packages, and 10 ms sooner.
    return [sys.executable, "-I", "-S", str(_INIT), json.dumps(spec)]


def _binds(sandbox: Sandbox) -> list[tuple[str, str, bool]]:
    wanted: dict[str, bool] = {}
    for path in sandbox.reads:
        wanted[os.path.abspath(path)] = False
    if sandbox.network:
        wanted.update({path: False for path in _RESOLVER_FILES if os.path.exists(path)})
    for path in sandbox.writes:
        wanted[os.path.abspath(path)] = True
    for target in wanted:
        if not os.path.exists(target):
            raise HostError("does not exist, so no tool can be given it", where=target)
    # Sorted, so that what is mounted inside of a directory comes after it.
    return [(os.path.realpath(path), path, wanted[path]) for path in sorted(wanted)]


def run(
    sandbox: Sandbox,
    argv: Sequence[str],
    *,
    input: bytes | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program in a sandbox to its end and return its output.

    Raises:
        SandboxFailed: this machine or user cannot make one; the hint says what to change.
        CommandFailed: the program failed (with `check`).
        HostError: it took longer than `timeout_s`, or a path does not exist.
    """
    done = runner.run(
        command(sandbox, argv, env=env), input=input, timeout_s=timeout_s, check=False
    )
    if done.returncode == sandbox_init.FAILED:
        raise_failure(done.stderr.decode(errors="replace"))
    if check and done.returncode != 0:
        raise runner.CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))
    return done


def raise_failure(stderr: str) -> None:
    """Raise the `SandboxFailed` that `stderr` tells of, if it does."""
    for line in reversed(stderr.splitlines()):
        if line.startswith(sandbox_init.MARK):
            fields = json.loads(line.removeprefix(sandbox_init.MARK))
            raise SandboxFailed(fields["what"], hint=fields["hint"])
