"""Entries of the boot loader: their names, and what is in them.

`IMAGE.parameters-DIGEST+3-0.conf` starts IMAGE.efi with another command line.
systemd-boot counts its tries in the name, as it does with an image's own
(Boot Loader Specification, "Boot counting"), and systemd-bless-boot takes the
counter off when the boot is complete. An entry is sorted like its image, by
sort-key and version, and between the two by name, the greater first:
"parameters" comes before "efi". With no tries left it comes last.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from bulkhead.host.parameters.uki import Uki

TRIES = 3
MARK = "bulkhead.parameters"
"""On the command line, with the digest: tells what runs."""

_ENTRY = re.compile(
    r"(?P<image>[A-Za-z0-9._~^-]+)\.parameters-(?P<digest>[0-9a-f]{12})"
    r"(?:\+(?P<left>[0-9]{1,6})(?:-[0-9]{1,6})?)?\.conf"
)
_IMAGE = re.compile(r"(?P<image>[A-Za-z0-9._~^-]+?)(?P<counter>\+[0-9]{1,6}(?:-[0-9]{1,6})?)?\.efi")
_MARKED = re.compile(rf"(?<!\S){re.escape(MARK)}=([0-9a-f]{{12}})(?!\S)")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ours that is on the ESP."""

    file: str
    image: str
    """Name of the image, without counter and `.efi`."""
    digest: str
    left: int | None
    """Tries that are left; None once the entry is good."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A command line that an image should be started with."""

    options: str
    digest: str


def parse(file: str) -> Entry | None:
    """Return what a name says; None if it is not an entry of ours."""
    match = _ENTRY.fullmatch(file)
    if match is None:
        return None
    left = match["left"]
    return Entry(
        file=file, image=match["image"], digest=match["digest"],
        left=None if left is None else int(left),
    )  # fmt: skip


def image_of(file: str) -> tuple[str, bool] | None:
    """Return an image's name and whether it has proved good; None for other files."""
    match = _IMAGE.fullmatch(file)
    return (match["image"], match["counter"] is None) if match else None


def line(uki: Uki, parameters: str) -> Line:
    """Return an image's own command line with parameters after it."""
    whole = f"{uki.line} {parameters}"
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    # Last, so that a line that is cut off does not look as if it were all there.
    return Line(options=f"{whole} {MARK}={digest}", digest=digest)


def running(command_line: str) -> str | None:
    """Return the digest of the parameters that the kernel was started with."""
    found = _MARKED.findall(command_line)
    return str(found[-1]) if found else None


def name(image: str, digest: str) -> str:
    """Return the name of a new entry."""
    return f"{image}.parameters-{digest}+{TRIES}-0.conf"


def text(image: str, uki: Uki, wanted: Line) -> str:
    """Return what is in an entry."""
    lines = {
        "title": f"{uki.title}, with parameters of the settings",
        "sort-key": uki.sort_key,
        "version": uki.version,
        "efi": f"/EFI/Linux/{image}.efi",
        "options": wanted.options,
    }
    return "# Made from the node's settings; removed when they are unset.\n" + "".join(
        f"{key} {value}\n" for key, value in lines.items() if value
    )
