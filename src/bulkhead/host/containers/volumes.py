"""Which parts of the machine a container may see."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

from bulkhead.host.containers.places import Places
from bulkhead.host.containers.spec import Bind
from bulkhead.model.containers import Volume, is_name
from bulkhead.model.errors import UserError

# The kernel's and the runtime's own; hiding them would undo the sandbox or break it.
_TAKEN = ("/", "/proc", "/sys", "/dev")


def binds(volumes: tuple[Volume, ...], places: Places) -> list[Bind]:
    """Turn volumes into mounts; a named volume is made when the container is (`filling`).

    Raises:
        UserError: a directory that is not among those that may be shared, or
            a target that is not for volumes, or for another one already.
    """
    found: dict[str, Bind] = {}
    for volume in volumes:
        target = _target(volume)
        if target in found:
            raise UserError(f"two volumes cannot both be at {target!r} in the container")
        found[target] = Bind(
            source=str(_source(volume, places)), target=target, read_only=volume.read_only
        )
    return list(found.values())


def together(ours: Sequence[Bind], theirs: Sequence[Bind]) -> list[Bind]:
    """Return Bulkhead's files and a container's volumes.

    Of two at one place there is the volume. A file inside of a volume that is
    read-only is left out: the runtime would make it there, to mount over it.
    """
    closed = tuple(f"{bind.target}/" for bind in theirs if bind.read_only)
    kept = [bind for bind in ours if not bind.target.startswith(closed)]
    return list({bind.target: bind for bind in (*kept, *theirs)}.values())


def system_binds(name: str, places: Places) -> list[Bind]:
    """Return the files that Bulkhead provides: name servers and names."""
    return [
        Bind(source=str(places.files(name) / file), target=f"/etc/{file}")
        for file in ("resolv.conf", "hosts", "hostname")
    ]


def _target(volume: Volume) -> str:
    # normpath keeps two slashes at the beginning; a mount does not.
    target = posixpath.normpath("/" + volume.target.lstrip("/"))
    if (
        not volume.target.startswith("/")
        or target in _TAKEN
        or target.startswith(tuple(f"{taken}/" for taken in _TAKEN[1:]))
    ):
        raise UserError(f"a volume cannot be at {volume.target!r} in the container")
    return target


def _source(volume: Volume, places: Places) -> Path:
    if not volume.source.startswith("/"):
        if not is_name(volume.source):
            raise UserError(f"a volume cannot be named {volume.source!r}")
        return places.volumes / volume.source
    # Links are resolved before the comparison: only where it really leads counts.
    real = Path(os.path.realpath(volume.source))
    allowed = (places.volumes, *places.shared)
    # Not deeper, and not the allowed directories themselves: what a container can write to could
    # be made a link to anywhere before another one, which was given a part of it, starts again.
    if not any(real.parent == Path(os.path.realpath(root)) for root in allowed):
        roots = " or ".join(str(root) for root in allowed)
        raise UserError(
            f"the machine's {volume.source!r} may not be given to a container",
            hint=f"use a named volume, or a directory directly in {roots}",
        )
    if not real.is_dir():
        raise UserError(f"there is no directory {volume.source!r} on the machine")
    return real
