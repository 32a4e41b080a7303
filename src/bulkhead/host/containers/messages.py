"""The messages of containerd's API 1.7 that are used here, and where they are sent.

Field numbers are those of containerd's published .proto files. Fields that
nothing here reads or writes are left out; the codec skips them.
"""

# ruff: noqa: RUF012  # msgspec makes a new list or dict from each empty default

from __future__ import annotations

from typing import Annotated

from bulkhead.host.containers.protobuf import Message


class Empty(Message):
    """google.protobuf.Empty."""


class Any(Message):
    """google.protobuf.Any: a message of any type. containerd also puts JSON in `value`."""

    type_url: Annotated[str, 1] = ""
    value: Annotated[bytes, 2] = b""


class Timestamp(Message):
    """google.protobuf.Timestamp."""

    seconds: Annotated[int, 1] = 0
    nanos: Annotated[int, 2] = 0


class FieldMask(Message):
    """google.protobuf.FieldMask: which fields an update changes."""

    paths: Annotated[list[str], 1] = []


class Descriptor(Message):
    """Names content: a manifest, a configuration, a layer."""

    media_type: Annotated[str, 1] = ""
    digest: Annotated[str, 2] = ""
    size: Annotated[int, 3] = 0
    annotations: Annotated[dict[str, str], 5] = {}


class Platform(Message):
    """What an image is for."""

    os: Annotated[str, 1] = ""
    architecture: Annotated[str, 2] = ""
    variant: Annotated[str, 3] = ""


class Mount(Message):
    """A mount that a shim has to make."""

    type: Annotated[str, 1] = ""
    source: Annotated[str, 2] = ""
    target: Annotated[str, 3] = ""
    options: Annotated[list[str], 4] = []


# --- version, introspection, leases ----------------------------


class VersionResponse(Message):
    """Who answers."""

    version: Annotated[str, 1] = ""
    revision: Annotated[str, 2] = ""


class Status(Message):
    """google.rpc.Status."""

    code: Annotated[int, 1] = 0
    message: Annotated[str, 2] = ""


class Plugin(Message):
    """One part of containerd, and whether it came up."""

    type: Annotated[str, 1] = ""
    id: Annotated[str, 2] = ""
    capabilities: Annotated[list[str], 6] = []
    init_error: Annotated[Status | None, 7] = None


class PluginsRequest(Message):
    """Filters are containerd's filter expressions; any may match."""

    filters: Annotated[list[str], 1] = []


class PluginsResponse(Message):
    """The plug-ins that matched."""

    plugins: Annotated[list[Plugin], 1] = []


class Lease(Message):
    """Keeps content from being collected as garbage while it has no other reference."""

    id: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 3] = {}


class CreateLeaseRequest(Message):
    """Make a lease; containerd chooses a name if `id` is empty."""

    id: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 3] = {}


class CreateLeaseResponse(Message):
    """The lease as stored."""

    lease: Annotated[Lease | None, 1] = None


class DeleteLeaseRequest(Message):
    """End a lease; `sync` waits until garbage is collected."""

    id: Annotated[str, 1] = ""
    sync: Annotated[bool, 2] = False


# --- content, images, snapshots --------------------------------------------


class ReadContentRequest(Message):
    """Read stored bytes; `size` 0 means to the end."""

    digest: Annotated[str, 1] = ""
    offset: Annotated[int, 2] = 0
    size: Annotated[int, 3] = 0


class ReadContentResponse(Message):
    """A piece of the bytes."""

    offset: Annotated[int, 1] = 0
    data: Annotated[bytes, 2] = b""


class ContentInfo(Message):
    """What is known about stored content."""

    digest: Annotated[str, 1] = ""
    size: Annotated[int, 2] = 0
    labels: Annotated[dict[str, str], 5] = {}


class ContentInfoRequest(Message):
    """Ask for one digest."""

    digest: Annotated[str, 1] = ""


class ContentInfoResponse(Message):
    """The answer."""

    info: Annotated[ContentInfo | None, 1] = None


class Image(Message):
    """A name for a manifest or an index."""

    name: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 2] = {}
    target: Annotated[Descriptor | None, 3] = None
    created_at: Annotated[Timestamp | None, 7] = None
    updated_at: Annotated[Timestamp | None, 8] = None


class GetImageRequest(Message):
    """Ask for one name."""

    name: Annotated[str, 1] = ""


class GetImageResponse(Message):
    """The answer."""

    image: Annotated[Image | None, 1] = None


class ListImagesRequest(Message):
    """List images; any filter may match."""

    filters: Annotated[list[str], 1] = []


class ListImagesResponse(Message):
    """The images that matched."""

    images: Annotated[list[Image], 1] = []


class DeleteImageRequest(Message):
    """Remove a name; `sync` waits until garbage is collected."""

    name: Annotated[str, 1] = ""
    sync: Annotated[bool, 2] = False


class PrepareSnapshotRequest(Message):
    """Make a writable snapshot on top of `parent`."""

    snapshotter: Annotated[str, 1] = ""
    key: Annotated[str, 2] = ""
    parent: Annotated[str, 3] = ""
    labels: Annotated[dict[str, str], 4] = {}


class SnapshotRequest(Message):
    """Name a snapshot: for its mounts, its usage, its removal."""

    snapshotter: Annotated[str, 1] = ""
    key: Annotated[str, 2] = ""


class MountsResponse(Message):
    """How to mount a snapshot."""

    mounts: Annotated[list[Mount], 1] = []


# --- containers and tasks --------------------------------------------------


class Runtime(Message):
    """Which shim runs a container, and its options."""

    name: Annotated[str, 1] = ""
    options: Annotated[Any | None, 2] = None


class RuncOptions(Message):
    """containerd.runc.v1.Options: for containerd-shim-runc-v2, whatever runtime it calls."""

    io_uid: Annotated[int, 4] = 0
    io_gid: Annotated[int, 5] = 0
    binary_name: Annotated[str, 6] = ""
    root: Annotated[str, 7] = ""
    systemd_cgroup: Annotated[bool, 9] = False


class Container(Message):
    """What should run. Nothing runs until it has a task."""

    id: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 2] = {}
    image: Annotated[str, 3] = ""
    runtime: Annotated[Runtime | None, 4] = None
    spec: Annotated[Any | None, 5] = None
    snapshotter: Annotated[str, 6] = ""
    snapshot_key: Annotated[str, 7] = ""
    created_at: Annotated[Timestamp | None, 8] = None
    updated_at: Annotated[Timestamp | None, 9] = None


class ContainerRequest(Message):
    """Name a container: to get it, to delete it."""

    id: Annotated[str, 1] = ""


class ContainerResponse(Message):
    """A container as stored; also the request that creates one."""

    container: Annotated[Container | None, 1] = None


class UpdateContainerRequest(Message):
    """Change the fields in the mask."""

    container: Annotated[Container | None, 1] = None
    update_mask: Annotated[FieldMask | None, 2] = None


class ListContainersRequest(Message):
    """List containers; any filter may match."""

    filters: Annotated[list[str], 1] = []


class ListContainersResponse(Message):
    """The containers that matched."""

    containers: Annotated[list[Container], 1] = []


class CreateTaskRequest(Message):
    """Make a container's first process, up to the point where it would start."""

    container_id: Annotated[str, 1] = ""
    rootfs: Annotated[list[Mount], 3] = []
    stdin: Annotated[str, 4] = ""
    stdout: Annotated[str, 5] = ""
    stderr: Annotated[str, 6] = ""
    terminal: Annotated[bool, 7] = False
    options: Annotated[Any | None, 9] = None


class CreateTaskResponse(Message):
    """The process on the host."""

    container_id: Annotated[str, 1] = ""
    pid: Annotated[int, 2] = 0


class ProcessRequest(Message):
    """Name a task (or, with `exec_id`, one more process in it): start, get, wait, delete."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""


class StartResponse(Message):
    """The process on the host."""

    pid: Annotated[int, 1] = 0


class DeleteResponse(Message):
    """How the process had ended."""

    id: Annotated[str, 1] = ""
    pid: Annotated[int, 2] = 0
    exit_status: Annotated[int, 3] = 0
    exited_at: Annotated[Timestamp | None, 4] = None


class Process(Message):
    """A task or one more process in it. `status` is a `TaskStatus`."""

    container_id: Annotated[str, 1] = ""
    id: Annotated[str, 2] = ""
    pid: Annotated[int, 3] = 0
    status: Annotated[int, 4] = 0
    exit_status: Annotated[int, 9] = 0
    exited_at: Annotated[Timestamp | None, 10] = None


class GetTaskResponse(Message):
    """The answer."""

    process: Annotated[Process | None, 1] = None


class ListTasksRequest(Message):
    """List tasks; containerd 1.7 reads no filter here."""


class ListTasksResponse(Message):
    """All tasks of the namespace."""

    tasks: Annotated[list[Process], 1] = []


class KillRequest(Message):
    """Send a signal."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    signal: Annotated[int, 3] = 0


class ExecRequest(Message):
    """Prepare one more process; `spec` is the OCI process as JSON."""

    container_id: Annotated[str, 1] = ""
    stdin: Annotated[str, 2] = ""
    stdout: Annotated[str, 3] = ""
    stderr: Annotated[str, 4] = ""
    terminal: Annotated[bool, 5] = False
    spec: Annotated[Any | None, 6] = None
    exec_id: Annotated[str, 7] = ""


class ResizeRequest(Message):
    """The size of a process's terminal."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    width: Annotated[int, 3] = 0
    height: Annotated[int, 4] = 0


class CloseIORequest(Message):
    """Close a process's standard input."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    stdin: Annotated[bool, 3] = False


class WaitResponse(Message):
    """How the process ended."""

    exit_status: Annotated[int, 1] = 0
    exited_at: Annotated[Timestamp | None, 2] = None
