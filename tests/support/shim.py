"""A container service's engine with one container, whose processes are plain ones of this machine.

They have named pipes at their ends, as containerd's shim would give them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import msgspec

from bulkhead.host.containers import messages as m
from bulkhead.host.containers.accounts import Identity
from bulkhead.host.containers.containerd import Containerd, NotFound
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.stored_spec import SpecCapabilities, SpecProcess, SpecUser
from bulkhead.model.containers import Container


class _Spec(msgspec.Struct):
    args: list[str]


class Shim(Containerd):
    """Runs one process at a time. With `refuses`, none."""

    def __init__(self) -> None:
        self.refuses = False
        self._request = m.ExecRequest()
        self._process: subprocess.Popen[bytes] | None = None

    async def exec(self, request: m.ExecRequest) -> None:
        """Note what to run."""
        if self.refuses:
            raise NotFound("there is no running task")
        self._request = request

    async def start(self, name: str, *, exec_id: str = "") -> int:
        """Run it."""
        assert self._request.spec is not None
        ends = [
            os.open(path, flags) if path else subprocess.DEVNULL
            for path, flags in (
                (self._request.stdin, os.O_RDONLY),
                (self._request.stdout, os.O_WRONLY),
                (self._request.stderr, os.O_WRONLY),
            )
        ]
        self._process = subprocess.Popen(
            msgspec.json.decode(self._request.spec.value, type=_Spec).args,
            stdin=ends[0], stdout=ends[1], stderr=ends[2], env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        for end in ends:
            if end >= 0:
                os.close(end)
        return self._process.pid

    async def wait(self, name: str, *, exec_id: str = "", timeout_s: float | None = None) -> int:
        """Wait until it has ended; return its exit code."""
        assert self._process is not None
        while self._process.poll() is None:
            await asyncio.sleep(0.01)
        return self._process.returncode

    async def kill(self, name: str, signal: int, *, exec_id: str = "") -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(signal)

    async def delete_process(self, name: str, exec_id: str) -> int:
        """Forget it."""
        return 0

    async def close_stdin(self, name: str, *, exec_id: str) -> None:
        """Do nothing: nobody but the service holds the other end."""


class OneContainer(Engine):
    """An engine whose only container has any name."""

    def __init__(self, run: Path) -> None:
        self.shim = Shim()
        super().__init__(self.shim, Places(run=run))

    async def inspect(self, name: str) -> Container:
        """Return it."""
        return Container(name=name, image="", state="running", created="")

    async def identify(self, name: str, user: str | None) -> Identity:
        """Return its root."""
        return Identity()

    async def process_defaults(self, name: str) -> SpecProcess:
        """Return what its processes have."""
        return SpecProcess(user=SpecUser(), env=(), cwd="/", capabilities=SpecCapabilities())
