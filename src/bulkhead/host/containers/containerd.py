"""A client of containerd's gRPC API: one method per call that is used here.

Errors of containerd become errors of ours; nothing above this module knows
gRPC. grpclib speaks HTTP/2 with h2; messages go through our own codec.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TypeVar

from grpclib.client import Channel, Stream, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status as Code
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import StreamClosedError

from bulkhead.host.containers import messages as m
from bulkhead.host.containers import transfer_messages as tm
from bulkhead.host.containers.protobuf import Message, decode, encode
from bulkhead.model.errors import Bug, BulkheadError, HostError, RemoteError, UserError

SOCKET = "/run/containerd/containerd.sock"
NAMESPACE = "bulkhead"
SNAPSHOTTER = "overlayfs"

ENDED = (GRPCError, StreamTerminatedError, ProtocolError, StreamClosedError)
"""What using a stream raises that the other side has already ended."""

M = TypeVar("M", bound=Message)


class NotFound(UserError):
    """There is no such container, image, task or content."""


class Exists(UserError):
    """The name is taken."""


class Busy(UserError):
    """It is in a state in which this cannot be done."""


class _Codec(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: object, message_type: object) -> bytes:
        if not isinstance(message, Message):
            raise TypeError(f"expected a message, got {type(message).__name__}")
        return encode(message)

    def decode(self, data: bytes, message_type: type[M]) -> M:
        return decode(data, message_type)


def wrap(message: Message) -> m.Any:
    """Put a message into an `Any`."""
    return m.Any(type_url=tm.TYPE_URLS[type(message)], value=encode(message))


def unwrap(packed: m.Any, kind: type[M]) -> M:
    """Take a message out of an `Any`.

    Raises:
        RemoteError: it holds a message of another type.
    """
    name = packed.type_url.rpartition("/")[2]
    if name != tm.TYPE_URLS[kind]:
        raise RemoteError(f"containerd sent {name!r} where {tm.TYPE_URLS[kind]!r} was expected")
    return decode(packed.value, kind)


_ERRORS: dict[Code, type[BulkheadError]] = {
    Code.NOT_FOUND: NotFound,
    Code.ALREADY_EXISTS: Exists,
    Code.FAILED_PRECONDITION: Busy,
    Code.INVALID_ARGUMENT: UserError,
    Code.UNAVAILABLE: HostError,
    Code.RESOURCE_EXHAUSTED: HostError,
}


def _translate(error: GRPCError) -> BulkheadError:
    kind = _ERRORS.get(error.status, HostError)
    return kind(error.message or error.status.name.lower(), where="containerd")


class Containerd:
    """One connection. Use it as an async context manager.

    Every call raises `NotFound`, `Exists`, `Busy`, `UserError` or `HostError`.
    """

    def __init__(self, *, path: str = SOCKET, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self._path = path
        self._channel = Channel(path=path, codec=_Codec())
        self._metadata = {"containerd-namespace": namespace}

    async def __aenter__(self) -> Containerd:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    async def _call(
        self,
        method: str,
        request: Message,
        answer: type[M],
        *,
        timeout_s: float | None = 60,
        lease: str | None = None,
    ) -> M:
        call: UnaryUnaryMethod[Message, M] = UnaryUnaryMethod(
            self._channel, _path(method), type(request), answer
        )
        with self._errors():
            metadata = self._metadata | ({"containerd-lease": lease} if lease else {})
            return await call(request, metadata=metadata, timeout=timeout_s)

    def _errors(self) -> _Errors:
        return _Errors(self._path)

    # --- who is there ---

    async def version(self) -> m.VersionResponse:
        """Return containerd's version."""
        return await self._call("version.v1.Version/Version", m.Empty(), m.VersionResponse)

    async def plugins(self) -> list[m.Plugin]:
        """Return all plug-ins, failed ones too."""
        request = m.PluginsRequest()
        answer = await self._call(
            "introspection.v1.Introspection/Plugins", request, m.PluginsResponse
        )
        return answer.plugins

    # --- content, images, snapshots ---

    async def read(self, digest: str, *, limit: int) -> bytes:
        """Return stored content of at most `limit` bytes.

        Raises:
            UserError: it is longer.
        """
        info = await self._call(
            "content.v1.Content/Info", m.ContentInfoRequest(digest=digest), m.ContentInfoResponse
        )
        size = info.info.size if info.info else 0
        if size > limit:
            raise UserError(f"content of {size} bytes is more than {limit}", where=digest)
        call: UnaryStreamMethod[m.ReadContentRequest, m.ReadContentResponse] = UnaryStreamMethod(
            self._channel, _path("content.v1.Content/Read"),
            m.ReadContentRequest, m.ReadContentResponse,
        )  # fmt: skip
        with self._errors():
            parts = await call(m.ReadContentRequest(digest=digest), metadata=self._metadata)
        return b"".join(part.data for part in parts)

    async def image(self, name: str) -> m.Image:
        """Return an image by its full name."""
        answer = await self._call(
            "images.v1.Images/Get", m.GetImageRequest(name=name), m.GetImageResponse
        )
        return _there(answer.image)

    async def images(self) -> list[m.Image]:
        """Return all images."""
        answer = await self._call(
            "images.v1.Images/List", m.ListImagesRequest(), m.ListImagesResponse
        )
        return answer.images

    async def remove_image(self, name: str) -> None:
        """Remove an image's name, and what only it needed."""
        request = m.DeleteImageRequest(name=name, sync=True)
        await self._call("images.v1.Images/Delete", request, m.Empty)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        """Yield a lease: what is made with it is not collected as garbage meanwhile.

        If this program dies, the lease ends by itself after an hour.
        """
        expires = datetime.now(tz=UTC) + timedelta(hours=1)
        labels = {"containerd.io/gc.expire": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
        request = m.CreateLeaseRequest(id=f"bulkhead-{secrets.token_hex(8)}", labels=labels)
        await self._call("leases.v1.Leases/Create", request, m.CreateLeaseResponse)
        try:
            yield request.id
        finally:
            ending = m.DeleteLeaseRequest(id=request.id)
            await self._call("leases.v1.Leases/Delete", ending, m.Empty)

    async def prepare(self, key: str, *, parent: str, lease: str) -> None:
        """Make a writable snapshot that lives as long as the lease or a container refers to it."""
        request = m.PrepareSnapshotRequest(snapshotter=SNAPSHOTTER, key=key, parent=parent)
        await self._call("snapshots.v1.Snapshots/Prepare", request, m.MountsResponse, lease=lease)

    async def mounts(self, key: str) -> list[m.Mount]:
        """Return how to mount a snapshot."""
        request = m.SnapshotRequest(snapshotter=SNAPSHOTTER, key=key)
        answer = await self._call("snapshots.v1.Snapshots/Mounts", request, m.MountsResponse)
        return answer.mounts

    async def remove_snapshot(self, key: str) -> None:
        """Remove a snapshot and what was written into it."""
        request = m.SnapshotRequest(snapshotter=SNAPSHOTTER, key=key)
        await self._call("snapshots.v1.Snapshots/Remove", request, m.Empty)

    # --- containers ---

    async def container(self, name: str) -> m.Container:
        """Return a container."""
        answer = await self._call(
            "containers.v1.Containers/Get", m.ContainerRequest(id=name), m.ContainerResponse
        )
        return _there(answer.container)

    async def containers(self) -> list[m.Container]:
        """Return all containers."""
        answer = await self._call(
            "containers.v1.Containers/List", m.ListContainersRequest(), m.ListContainersResponse
        )
        return answer.containers

    async def create_container(self, container: m.Container) -> None:
        """Store what should run."""
        request = m.ContainerResponse(container=container)
        await self._call("containers.v1.Containers/Create", request, m.ContainerResponse)

    async def set_labels(self, name: str, labels: dict[str, str]) -> None:
        """Replace all labels of a container."""
        request = m.UpdateContainerRequest(
            container=m.Container(id=name, labels=labels),
            update_mask=m.FieldMask(paths=["labels"]),
        )
        await self._call("containers.v1.Containers/Update", request, m.ContainerResponse)

    async def delete_container(self, name: str) -> None:
        """Forget a container; it must have no task."""
        await self._call("containers.v1.Containers/Delete", m.ContainerRequest(id=name), m.Empty)

    # --- tasks ---

    async def create_task(self, request: m.CreateTaskRequest) -> int:
        """Make a container's first process; return its number on the host."""
        answer = await self._call("tasks.v1.Tasks/Create", request, m.CreateTaskResponse)
        return answer.pid

    async def start(self, name: str, *, exec_id: str = "") -> int:
        """Let a prepared process run; return its number on the host."""
        request = m.ProcessRequest(container_id=name, exec_id=exec_id)
        return (await self._call("tasks.v1.Tasks/Start", request, m.StartResponse)).pid

    async def task(self, name: str) -> m.Process:
        """Return a container's task."""
        request = m.ProcessRequest(container_id=name)
        answer = await self._call("tasks.v1.Tasks/Get", request, m.GetTaskResponse)
        return _there(answer.process)

    async def tasks(self) -> list[m.Process]:
        """Return all tasks."""
        answer = await self._call("tasks.v1.Tasks/List", m.ListTasksRequest(), m.ListTasksResponse)
        return answer.tasks

    async def kill(self, name: str, signal: int, *, exec_id: str = "") -> None:
        """Send a signal to a process."""
        request = m.KillRequest(container_id=name, exec_id=exec_id, signal=signal)
        await self._call("tasks.v1.Tasks/Kill", request, m.Empty)

    async def wait(self, name: str, *, exec_id: str = "", timeout_s: float | None = None) -> int:
        """Wait until the process has ended; return its exit code.

        Raises:
            TimeoutError: it still runs after `timeout_s`.
        """
        request = m.ProcessRequest(container_id=name, exec_id=exec_id)
        # The limit is kept here: containerd reports a deadline of gRPC's in its own words.
        async with asyncio.timeout(timeout_s):
            answer = await self._call(
                "tasks.v1.Tasks/Wait", request, m.WaitResponse, timeout_s=None
            )
        return answer.exit_status

    async def delete_task(self, name: str) -> int:
        """Remove a task that has ended; return its exit code."""
        request = m.ContainerRequest(id=name)
        return (await self._call("tasks.v1.Tasks/Delete", request, m.DeleteResponse)).exit_status

    async def exec(self, request: m.ExecRequest) -> None:
        """Prepare one more process in a container; `start` lets it run."""
        await self._call("tasks.v1.Tasks/Exec", request, m.Empty)

    async def delete_process(self, name: str, exec_id: str) -> int:
        """Remove a process that has ended; return its exit code."""
        request = m.ProcessRequest(container_id=name, exec_id=exec_id)
        answer = await self._call("tasks.v1.Tasks/DeleteProcess", request, m.DeleteResponse)
        return answer.exit_status

    async def resize(self, name: str, *, exec_id: str, columns: int, rows: int) -> None:
        """Set the size of a process's terminal."""
        request = m.ResizeRequest(container_id=name, exec_id=exec_id, width=columns, height=rows)
        await self._call("tasks.v1.Tasks/ResizePty", request, m.Empty)

    async def close_stdin(self, name: str, *, exec_id: str) -> None:
        """Close a process's standard input."""
        request = m.CloseIORequest(container_id=name, exec_id=exec_id, stdin=True)
        await self._call("tasks.v1.Tasks/CloseIO", request, m.Empty)

    # --- transfer ---

    async def transfer(self, source: Message, destination: tm.ImageStore, *, progress: str) -> None:
        """Move an image; returns when it is stored and unpacked."""
        request = tm.TransferRequest(
            source=wrap(source),
            destination=wrap(destination),
            options=tm.TransferOptions(progress_stream=progress),
        )
        await self._call("transfer.v1.Transfer/Transfer", request, m.Empty, timeout_s=None)

    @asynccontextmanager
    async def stream(self, name: str) -> AsyncIterator[Stream[m.Any, m.Any]]:
        """Open a named stream that a transfer reads from or writes to."""
        call: StreamStreamMethod[m.Any, m.Any] = StreamStreamMethod(
            self._channel, _path("streaming.v1.Streaming/Stream"), m.Any, m.Any
        )
        stream = call.open(metadata=self._metadata)
        with self._errors():
            await stream.__aenter__()
            await stream.send_message(wrap(tm.StreamInit(id=name)))
            # containerd answers with an empty message once the name is known.
            await stream.recv_message()
        try:
            yield stream
        finally:
            # containerd resets the stream when its side is done; both ends are normal.
            with suppress(*ENDED):
                await stream.cancel()
            with suppress(*ENDED):
                await stream.__aexit__(None, None, None)


class _Errors:
    """Turns gRPC's errors and those of the socket into ours."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, GRPCError):
            raise _translate(error) from error
        if isinstance(error, TimeoutError):
            return
        if isinstance(error, OSError | StreamTerminatedError):
            raise HostError(
                f"containerd does not answer: {error}",
                where=self._path,
                hint="see the journal of containerd.service",
            ) from error


def _path(method: str) -> str:
    return f"/containerd.services.{method}"


T = TypeVar("T")


def _there(value: T | None) -> T:
    if value is None:
        raise Bug("containerd answered without a value")
    return value
