"""How containerd works."""

from __future__ import annotations

from typing import Annotated, Literal

from bulkhead.model.settings.values import Table, rule, whole

Count = Annotated[int, whole(1, 2**31 - 1)]
ChunkSize = Annotated[str, rule("a size, as in 16mb", pattern=r"[1-9][0-9]{0,11}(?:[kmg]i?b?)?")]


class ContainerRuntime(Table, frozen=True):
    """containerd."""

    max_container_log_line_size: Annotated[int, whole(-1, 2**31 - 1)] | None = None
    """Longest line of a container's log in bytes; -1 is without end. For Kubernetes."""
    max_concurrent_downloads: Count | None = None
    """Layers of one image that are fetched at the same time."""
    max_concurrent_unpacks: Count | None = None
    """Layers that are unpacked at the same time."""
    concurrent_download_chunk_size: Count | ChunkSize | None = None
    """Fetch big layers in pieces of this size: bytes, or with kb, mb, gb."""
    enable_unprivileged_ports: bool | None = None
    """Containers may listen on ports below 1024 without a capability."""
    enable_unprivileged_icmp: bool | None = None
    """Containers may ping without a capability."""
    cgroup_writable: bool | None = None
    """Containers may make control groups below their own."""
    snapshotter: Literal["overlayfs", "soci"] | None = None
    """How the layers of images become a file system."""


Model = ContainerRuntime
