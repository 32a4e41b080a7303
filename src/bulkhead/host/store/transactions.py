"""Pending transactions: what clients have said and not yet committed.

One file each on a tmpfs, so they are gone after a reboot, as in Bottlerocket.
Their number and size are bounded, because anybody who may talk to the API can
leave some behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.host.store.errors import TooMuch
from bulkhead.lib import atomicfile
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.settings.keys import Key, Settings, flatten, merge, remove

LARGEST = 2 * 1024 * 1024
"""Bytes of one transaction's file, as large as a request of Bottlerocket's may be."""
MOST = 64
"""Transactions that may be pending at once."""
LONGEST_NAME = 128

_SUFFIX = ".json"
_LONGEST_FILE_NAME = 200  # of 255, the rest is for the name before the rename


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction will do: first unset, then set."""

    name: str
    settings: Settings = {}
    unset: tuple[Key, ...] = ()

    def keys(self) -> list[Key]:
        """Return all keys that it is about."""
        return sorted({*flatten(self.settings), *self.unset})

    def over(self, own: Settings) -> Settings:
        """Return the node's values after it."""
        for key in self.unset:
            own = remove(own, key)
        return merge(own, self.settings)


class Transactions:
    """The pending transactions in a directory. Changes need the store's lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """Return the names of all that are pending."""
        try:
            files = [name for name in os.listdir(self.directory) if name.endswith(_SUFFIX)]
        except FileNotFoundError:
            return []
        return sorted(_name(file) for file in files if not file.startswith("."))

    def read(self, name: str) -> Pending:
        """Return a transaction; one that nobody has begun is empty.

        Raises:
            HostError: its file is damaged.
        """
        path = self._path(name)
        try:
            pending = msgspec.json.decode(path.read_bytes(), type=Pending)
        except FileNotFoundError:
            return Pending(name=name)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise HostError(
                f"the pending transaction {name!r} cannot be read: {error}",
                where=str(path),
                hint="delete the transaction and begin again",
            ) from error
        return pending

    def stage(self, name: str, settings: Settings) -> None:
        """Add values that the commit will set."""
        old = self.read(name)
        self._write(msgspec.structs.replace(old, settings=merge(old.settings, settings)))

    def stage_unset(self, name: str, keys: Sequence[Key]) -> None:
        """Add keys that the commit will unset, each with all below it."""
        old = self.read(name)
        settings = old.settings
        for key in keys:
            settings = remove(settings, key)
        unset = tuple(sorted({*old.unset, *keys}))
        self._write(msgspec.structs.replace(old, settings=settings, unset=unset))

    def delete(self, name: str) -> None:
        """Forget a transaction; it need not exist."""
        self._path(name).unlink(missing_ok=True)

    def _write(self, pending: Pending) -> None:
        path = self._path(pending.name)
        raw = msgspec.json.encode(pending)
        if len(raw) > LARGEST:
            raise TooMuch(
                f"the transaction {pending.name!r} would have {len(raw)} bytes, "
                f"at most {LARGEST} are taken",
                hint="commit what is pending, or set less",
            )
        if not path.exists() and len(self.names()) >= MOST:
            raise TooMuch(
                f"{MOST} transactions are pending, more are not taken",
                hint="commit or delete some: GET /tx/list names them",
            )
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self.directory.glob(".*"):
            with suppress(OSError):
                leftover.unlink()
        atomicfile.write(path, raw, mode=0o600)

    def _path(self, name: str) -> Path:
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise UserError(
                f"{name[:LONGEST_NAME]!r} cannot be the name of a transaction",
                hint=f"use 1 to {LONGEST_NAME} printable characters",
            )
        file = "".join(
            f"%{byte:02X}" if byte not in _PLAIN else chr(byte) for byte in name.encode()
        )
        if len(file) > _LONGEST_FILE_NAME:
            raise UserError(
                f"the name of the transaction {name!r} is too long",
                hint="use letters, digits, - and _",
            )
        return self.directory / f"{file}{_SUFFIX}"


_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _name(file: str) -> str:
    raw = re.sub(
        rb"%([0-9A-F]{2})",
        lambda match: bytes([int(match[1], 16)]),
        file.removesuffix(_SUFFIX).encode(),
    )
    return raw.decode(errors="replace")
