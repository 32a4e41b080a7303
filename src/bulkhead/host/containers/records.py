"""What Bulkhead remembers of each container beside what containerd stores.

One file per container, replaced atomically. It is all that is needed to give
a container its users, root and network again after a reboot, before
containerd starts.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bulkhead.lib import atomicfile
from bulkhead.lib.decoding import decode_json
from bulkhead.model.containers import (
    Limits,
    Port,
    Restart,
    RunRequest,
    Volume,
    is_name,
)
from bulkhead.model.errors import HostError, UserError

FORMAT = 1
_PARTS: dict[str, type[msgspec.Struct]] = {
    "ports": Port,
    "volumes": Volume,
    "limits": Limits,
    "restart": Restart,
}
"""Fields of a request that have fields."""
# In JSON a quote within a text is escaped: this is in no text. Nor is it half a number.
_USERS = re.compile(rb'"users":(\d+|null)[,}]')


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


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A record of which no more than its file is known."""

    name: str
    written: str
    """When: UTC, ISO 8601."""
    why: str
    """What is wrong with it, and what to do."""


def utc(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as records and lists have it."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
        record = _decode(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise HostError(
            f"the record of a container cannot be read: {error}",
            where=str(file),
            hint=f"remove container {name!r} with force",
        ) from error
    # Paths are made of the name that is in it, by a program with privileges.
    if record.name != name:
        raise HostError(
            f"is the record of another container, {record.name!r}",
            where=str(file),
            hint=f"remove container {name!r} with force",
        )
    return record


def _decode(data: bytes) -> Record:
    fields = decode_json(data, dict[str, object])
    # Who asks must not have misspelt anything, but a newer version may have stored more.
    return msgspec.convert(fields | {"request": _known(fields.get("request"), RunRequest)}, Record)


def _known(value: object, kind: type[msgspec.Struct]) -> object:
    """Leave out the fields of a part of a request that this version does not know."""
    if isinstance(value, list):
        return [_known(each, kind) for each in value]
    if not isinstance(value, dict):
        return value
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    return {
        key: _known(part, _PARTS[key]) if key in _PARTS else part
        for key, part in value.items()
        if key in known
    }


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


def load_all(directory: Path) -> list[Record | Unreadable]:
    """Read all records; what cannot be read of one is in nobody's way."""
    found: list[Record | Unreadable] = []
    for name in names(directory):
        try:
            record = load(directory, name)
        except HostError as error:
            found.append(Unreadable(name=name, written=_written(directory, name), why=str(error)))
        else:
            found += [record] if record is not None else []
    return found


def _written(directory: Path, name: str) -> str:
    with suppress(OSError):
        return utc(path(directory, name).stat().st_mtime)
    return utc(0)


def taken_users(directory: Path) -> set[int]:
    """Return the first user numbers of all containers, of those with a damaged record too.

    Raises:
        HostError: one of them has numbers that its record does not tell.
    """
    taken: set[int] = set()
    for name in names(directory):
        try:
            record = load(directory, name)
        except HostError as error:
            taken |= _users_of_damaged(path(directory, name), error)
        else:
            taken |= {record.users} if record is not None and record.users is not None else set()
    return taken


def _users_of_damaged(file: Path, error: HostError) -> set[int]:
    try:
        found = _USERS.findall(file.read_bytes())
    except OSError:
        found = []
    if not found:
        # A container with users of another one could read its files.
        raise HostError(
            "does not tell the users of its container, so a new one cannot have users of its own",
            where=str(file),
            hint=error.hint,
        ) from error
    return {int(number) for number in found if number != b"null"}


def names(directory: Path) -> list[str]:
    """Return the names of all containers that have a record."""
    try:
        return sorted(file.stem for file in directory.glob("*.json") if is_name(file.stem))
    except FileNotFoundError:
        return []


def new_volumes(record: Record, directory: Path) -> list[Volume]:
    """Return the named volumes of a container that do not exist yet, each at its first place.

    Args:
        record: the container's.
        directory: where volumes are.
    """
    found: dict[str, Volume] = {}
    for volume in record.request.volumes:
        if is_name(volume.source) and not (directory / volume.source).is_dir():
            found.setdefault(volume.source, volume)
    return list(found.values())


def forget(directory: Path, name: str) -> None:
    """Remove a record; it need not exist."""
    path(directory, name).unlink(missing_ok=True)
