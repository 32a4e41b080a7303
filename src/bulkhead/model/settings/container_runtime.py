"""How containerd works."""

from __future__ import annotations

from typing import Annotated, Literal

from bulkhead.model.settings.values import Table, rule, whole

Count = Annotated[int, whole(1, 2**31 - 1)]
ChunkSize = Annotated[str, rule("a size, as in 16mb", pattern=r"[1-9][0-9]{0,11}(?:[kmg]i?b?)?")]


class ContainerRuntime(Table, frozen=True):
    """containerd."""

    max_container_log_line_size: Annotated[int, whole(-1, 2**31 - 1)] | None = None
    """Longest line of a container's log in bytes; -1 is without end. For Kubernetes only."""
    max_concurrent_downloads: Count | None = None
    """Layers of one image that are fetched at the same time."""
    max_concurrent_unpacks: Count | None = None
    """Layers of one image that are unpacked at the same time. containerd 1.7 unpacks one at a time."""
    concurrent_download_chunk_size: Count | ChunkSize | None = None
    """Fetch big layers in pieces of this size: bytes, or with kb, mb, gb. Not with containerd 1.7."""
    enable_unprivileged_ports: bool | None = None
    """Containers may listen on ports below 1024 without a capability."""
    enable_unprivileged_icmp: bool | None = None
    """Containers may ping without a capability."""
    cgroup_writable: bool | None = None
    """Root of a container with users of its own may make control groups in it, within its limits."""
    snapshotter: Literal["overlayfs"] | None = None
    """How the layers of images become a file system. Bottlerocket has soci, too."""


Model = ContainerRuntime
