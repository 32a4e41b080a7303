"""What Bulkhead remembers of each container beside what containerd stores.

One file per container, replaced atomically. It is all that is needed to give
a container its users, root and network again after a reboot, before
containerd starts.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.lib import atomicfile
from bulkhead.model.containers import RunRequest, Volume, is_name
from bulkhead.model.errors import HostError, UserError

FORMAT = 1


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """The directories of a container's snapshot."""

    lower: tuple[str, ...]
    """Of the image, topmost first."""
    upper: str
    work: str
    options: tuple[str, ...] = ()
    """Further options of the overlay, as containerd found out that the kernel wants them."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One container. Fields of a newer version are ignored, so that a rollback works."""

    format: int = FORMAT
    name: str
    image: str
    """The full name."""
    request: RunRequest
    created: str
    wanted: bool = True
    """It should run; False after `stop`."""
    users: int | None = None
    """The machine's number of its user 0; None: it has the machine's users."""
    layers: Layers | None = None
    exit_code: int | None = None
    """Of a process that containerd has forgotten."""


def path(directory: Path, name: str) -> Path:
    """Return the file of a container."""
    return directory / f"{name}.json"


def save(directory: Path, record: Record) -> None:
    """Write a record; it survives a power cut."""
    atomicfile.write(
        path(directory, record.name), msgspec.json.encode(record), mode=0o600, durable=True
    )


def load(directory: Path, name: str) -> Record | None:
    """Read a record; None if there is none.

    Raises:
        HostError: it cannot be read.
    """
    file = path(directory, name)
    try:
        record = msgspec.json.decode(file.read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise HostError(
            f"the record of a container cannot be read: {error}", where=str(file)
        ) from error
    # Paths are made of the name that is in it, by a program with privileges.
    if record.name != name:
        raise HostError(f"is the record of another container, {record.name!r}", where=str(file))
    return record


def require(directory: Path, name: str) -> Record:
    """Read a record that must be there.

    Raises:
        UserError: there is none.
        HostError: it cannot be read.
    """
    record = load(directory, name)
    if record is None:
        raise UserError(f"there is no container {name!r}")
    return record


def load_all(directory: Path) -> list[Record]:
    """Read all records.

    Raises:
        HostError: one of them cannot be read.
    """
    found = (load(directory, name) for name in names(directory))
    return [record for record in found if record is not None]


def names(directory: Path) -> list[str]:
    """Return the names of all containers that have a record."""
    try:
        return sorted(file.stem for file in directory.glob("*.json") if file.stem[0] != ".")
    except FileNotFoundError:
        return []


def new_volumes(record: Record, directory: Path) -> list[Volume]:
    """Return the named volumes of a container that do not exist yet.

    Args:
        record: the container's.
        directory: where volumes are.
    """
    return [
        volume
        for volume in record.request.volumes
        if is_name(volume.source) and not (directory / volume.source).is_dir()
    ]


def forget(directory: Path, name: str) -> None:
    """Remove a record; it need not exist."""
    path(directory, name).unlink(missing_ok=True)
