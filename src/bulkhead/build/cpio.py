"""A cpio archive (newc) as the kernel's initramfs unpacker reads it.

Written here because the format is a page long and every cpio program puts
inode numbers, times or owners of the machine into it. Reference:
Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import BinaryIO

import msgspec

from bulkhead.model.errors import UserError


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What is at one path of the archive; `mode` carries the file type as st_mode does."""

    mode: int
    data: bytes = b""
    """A file's bytes, or the target of a symbolic link."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""


def file(data: bytes, *, mode: int = 0o644) -> Member:
    """Return a regular file."""
    return Member(mode=stat.S_IFREG | mode, data=data)


def directory(*, mode: int = 0o755) -> Member:
    """Return a directory."""
    return Member(mode=stat.S_IFDIR | mode)


def character_device(major: int, minor: int, *, mode: int = 0o600) -> Member:
    """Return a character device node; no privilege is needed, it is only an entry."""
    return Member(mode=stat.S_IFCHR | mode, device=(major, minor))


def write(members: Mapping[str, Member], out: BinaryIO) -> None:
    """Write `members` (path without leading slash: member), sorted, owned by root, at time 0.

    Directories above a path must be members too: the kernel does not make them.

    Raises:
        UserError: a directory above a path is missing, or a file is too big for the format.
    """
    for inode, path in enumerate(sorted(members), start=1):
        above = path.rpartition("/")[0]
        if above and not stat.S_ISDIR(members.get(above, Member(mode=0)).mode):
            raise UserError(f"{path!r} needs the directory {above!r} in the archive")
        _member(out, path, members[path], inode)
    _member(out, "TRAILER!!!", Member(mode=0), 0)


def _member(out: BinaryIO, path: str, member: Member, inode: int) -> None:
    name = path.encode() + b"\0"
    if len(member.data) >= 1 << 32:
        raise UserError(f"{path!r} is too big for a cpio archive")
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (
        inode, member.mode, 0, 0, links, 0, len(member.data), 0, 0, *member.device, len(name), 0,
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    out.write(_padded(header) + _padded(member.data))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
