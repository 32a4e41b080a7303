"""Where things of containers are on a node. Tests put them elsewhere."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """All directories and sockets in one place."""

    records: Path = Path("/var/lib/bulkhead/containers")
    """NAME.json, and the directory NAME.files with what is bound into the container."""
    volumes: Path = Path("/var/lib/bulkhead/volumes")
    shared: tuple[Path, ...] = (Path("/var/lib/bulkhead/shared"),)
    """Directories of the machine that may be given to containers by path."""
    settings: Path = Path("/run/settings")
    """The machine's /etc/bulkhead, where the service sees it: what the settings say."""
    logs: Path = Path("/var/log/containers")
    run: Path = Path("/run/bulkhead")
    """exec/: pipes of processes that somebody is attached to."""
    networks: Path = Path("/run/bulkhead-network")
    """NAME.json: what a network was given. Written by the network program alone."""
    namespaces: Path = Path("/run/netns")
    sandboxes: Path = Path("/run/bulkhead-sandboxes")
    """NAME/users and NAME/root, for containers with users of their own."""
    snapshots: Path = Path("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots")
    containerd: Path = Path("/run/containerd/containerd.sock")
    network: Path = Path("/run/bulkhead/network.sock")
    sandbox: Path = Path("/run/bulkhead-agents/sandboxes.sock")
    """Asked by the network program alone, as the next one; the container service does not see them."""
    filling: Path = Path("/run/bulkhead-agents/volumes.sock")
    making: Path = Path("/run/bulkhead-agents/namespaces.sock")
    """Asked by the sandbox program alone."""
    resolvers: tuple[Path, ...] = (
        Path("/run/systemd/resolve/resolv.conf"),
        Path("/etc/resolv.conf"),
    )
    """The first that exists says which name servers containers ask."""
    staging: Path = Path("/tmp")  # noqa: S108 - the sandbox program's own, which nobody else sees
    """Where the sandbox program mounts what only it needs."""

    def log(self, name: str) -> Path:
        """Return a container's log."""
        return self.logs / f"{name}.log"

    def namespace(self, name: str) -> Path:
        """Return a container's pinned network namespace."""
        return self.namespaces / name

    def users(self, name: str) -> Path:
        """Return a container's pinned user namespace."""
        return self.sandboxes / name / "users"

    def root(self, name: str) -> Path:
        """Return where the root of a container with users of its own is mounted."""
        return self.sandboxes / name / "root"

    def files(self, name: str) -> Path:
        """Return the directory of files that are bound into a container."""
        # A suffix of its own: without one, the directory of a container `web.json` would be
        # where the record of `web` belongs.
        return self.records / f"{name}.files"


def is_mounted(path: Path) -> bool:
    """Tell whether something is mounted there; an interrupted attempt may leave a mere file."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except FileNotFoundError:
        return False
