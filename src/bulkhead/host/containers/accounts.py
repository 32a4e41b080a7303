"""Whom a container's process runs as: `user[:group]` looked up in the image's own files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from bulkhead.model.errors import UserError

_LARGEST = 2**31 - 1
LIMIT = 1024 * 1024
"""More of a passwd or group file than this is not read."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A user in numbers."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


ReadFile = Callable[[str], str]
"""Returns a file of the image's root, "" if it has none."""


def identify(text: str, read: ReadFile) -> Identity:
    """Resolve `user`, `uid`, `user:group`, `uid:gid` or "" (root).

    Raises:
        UserError: the image knows no such user or group.
    """
    user, colon, group = text.partition(":")
    user = user or "0"
    entry = next((row for row in _rows(read("etc/passwd"), 7) if user in (row[0], row[2])), None)
    if entry is None and not user.isdecimal():
        raise UserError(f"the image has no user {user!r}", hint="a number works always")
    uid = _number(entry[2] if entry else user, "user")
    gid = _number(entry[3], "group") if entry else 0
    groups: list[int] = []
    rows = list(_rows(read("etc/group"), 3))
    if colon and group:
        found = next((row for row in rows if group in (row[0], row[2])), None)
        if found is None and not group.isdecimal():
            raise UserError(f"the image has no group {group!r}", hint="a number works always")
        gid = _number(found[2] if found else group, "group")
    elif entry is not None:
        groups = [
            _number(row[2], "group")
            for row in rows
            if len(row) > 3 and entry[0] in row[3].split(",")
        ]
    home = entry[5] if entry and entry[5] else "/"
    return Identity(uid=uid, gid=gid, groups=tuple(sorted(set(groups) - {gid})), home=home)


def _rows(text: str, fields: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        row = line.split(":")
        if len(row) >= fields and not line.startswith("#"):
            yield row


def _number(text: str, what: str) -> int:
    # Python refuses to read numbers of thousands of digits, with a ValueError.
    if not text.isdecimal() or len(text) > 20 or int(text) > _LARGEST:
        raise UserError(f"the image's {what} number cannot be {text[:40]!r}")
    return int(text)
