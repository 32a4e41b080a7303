"""The size report of an image, as its JSON has it."""

from __future__ import annotations

import msgspec


class FileSize(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the root. A file with several names is listed under the first."""

    path: str
    package: str
    kind: str
    """`program`, `library`, `module` (of the kernel), `python`, `configuration` or `data`."""
    bytes: int
    image_bytes: int
    """About what it takes in the compressed image."""


class PackageSize(msgspec.Struct, frozen=True, kw_only=True):
    """All files of one package."""

    name: str
    """`bulkhead` for what the builder made itself."""
    version: str
    files: int
    bytes: int
    image_bytes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What takes the space in a root; packages and files with the largest first."""

    title: str
    image_bytes: int
    """Of the root image; the files' `image_bytes` add up to it."""
    bytes: int
    entries: int
    """Files, directories and links."""
    packages: tuple[PackageSize, ...]
    files: tuple[FileSize, ...]
