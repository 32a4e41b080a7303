"""One more process in a container, with somebody at its other end.

containerd's shim speaks through named pipes. They exist as long as the
client is there; a client that goes away takes its process with it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from bulkhead.host.containers import fifos, spec
from bulkhead.host.containers import messages as m
from bulkhead.host.containers.containerd import NotFound
from bulkhead.host.containers.engine import Engine
from bulkhead.model.containers import ExecRequest
from bulkhead.model.errors import BulkheadError
from bulkhead.model.runtime_defaults import Limit

PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"


class Execution:
    """A running process. Make it with `execute`.

    Attributes:
        outputs: descriptors to read from, by the number of the stream: 1 output, 2 errors.
    """

    def __init__(self, engine: Engine, name: str, exec_id: str) -> None:
        self._engine, self._name, self._id = engine, name, exec_id
        self.outputs: dict[int, int] = {}
        self.stdin: int | None = None

    async def write(self, data: bytes) -> None:
        """Send to standard input; dropped once that is closed."""
        if self.stdin is not None:
            await fifos.write(self.stdin, data)

    async def close_stdin(self) -> None:
        """Let the process see the end of its input, after all that was written."""
        if self.stdin is None:
            return
        descriptor, self.stdin = self.stdin, None
        try:
            await fifos.drained(descriptor, timeout_s=10)
            with suppress(NotFound):
                await self._engine.containerd.close_stdin(self._name, exec_id=self._id)
        finally:
            os.close(descriptor)

    async def resize(self, *, columns: int, rows: int) -> None:
        """Tell the process's terminal its new size."""
        with suppress(BulkheadError):
            await self._engine.containerd.resize(
                self._name, exec_id=self._id, columns=columns, rows=rows
            )

    async def wait(self) -> int:
        """Wait until the process has ended; return its exit code."""
        return await self._engine.containerd.wait(self._name, exec_id=self._id)


@asynccontextmanager
async def execute(engine: Engine, name: str, request: ExecRequest) -> AsyncIterator[Execution]:
    """Start a process in a running container; it ends with the block at the latest.

    Raises:
        NotFound: the container does not exist or does not run.
        UserError: there is no such user, or the program cannot be started.
    """
    containerd = engine.containerd
    document = await _process(engine, name, request)
    exec_id = f"exec-{secrets.token_hex(8)}"
    directory = engine.places.run / "exec" / exec_id
    directory.mkdir(mode=0o700, parents=True)
    opened: list[int] = []
    running = Execution(engine, name, exec_id)
    try:
        streams = ("stdout",) if request.tty else ("stdout", "stderr")
        running.outputs, guards = _open(directory, streams, opened)
        if request.stdin:
            running.stdin = _make(directory / "stdin", os.O_RDWR)
        await containerd.exec(
            m.ExecRequest(
                container_id=name,
                exec_id=exec_id,
                stdin=str(directory / "stdin") if request.stdin else "",
                stdout=str(directory / "stdout"),
                stderr="" if request.tty else str(directory / "stderr"),
                terminal=request.tty,
                spec=m.Any(type_url=PROCESS_TYPE, value=msgspec.json.encode(document)),
            )
        )
        try:
            await containerd.start(name, exec_id=exec_id)
            # The shim has its ends open now; ours would keep the end from being seen.
            for guard in guards:
                os.close(guard)
                opened.remove(guard)
            if request.tty:
                await running.resize(columns=request.columns, rows=request.rows)
            yield running
        finally:
            await asyncio.shield(_end(engine, name, exec_id))
    finally:
        if running.stdin is not None:
            os.close(running.stdin)
        for descriptor in opened:
            os.close(descriptor)
        shutil.rmtree(directory, ignore_errors=True)


async def _end(engine: Engine, name: str, exec_id: str) -> None:
    containerd = engine.containerd
    with suppress(BulkheadError, TimeoutError):
        with suppress(NotFound):
            await containerd.kill(name, signal.SIGKILL, exec_id=exec_id)
        await containerd.wait(name, exec_id=exec_id, timeout_s=10)
    with suppress(BulkheadError):
        await containerd.delete_process(name, exec_id)


async def _process(engine: Engine, name: str, request: ExecRequest) -> spec.Json:
    await engine.inspect(name)  # an unknown name is told with a suggestion
    defaults = await engine.process_defaults(name)
    env = dict(item.partition("=")[::2] for item in defaults.env)
    env.update(request.env)
    return spec.process(
        argv=request.command,
        env=[f"{key}={value}" for key, value in env.items()],
        identity=await engine.identify(name, request.user),
        workdir=request.workdir or defaults.cwd,
        granted=defaults.capabilities.bounding,
        limits={item.type: Limit(soft=item.soft, hard=item.hard) for item in defaults.rlimits},
        terminal=request.tty,
        size=(request.columns, request.rows) if request.tty else None,
    )


def _open(
    directory: Path, streams: tuple[str, ...], opened: list[int]
) -> tuple[dict[int, int], list[int]]:
    """Make the pipes of the outputs; return the ends to read from and the guards.

    A guard is a writing end: without one, a pipe that the shim has not opened
    yet would already be at its end.
    """
    outputs, guards = {}, []
    for number, stream in enumerate(streams, start=1):
        outputs[number] = _make(directory / stream, os.O_RDONLY)
        opened.append(outputs[number])
        guards.append(os.open(directory / stream, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        opened.append(guards[-1])
    return outputs, guards


def _make(path: Path, flags: int) -> int:
    os.mkfifo(path, 0o600)
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
