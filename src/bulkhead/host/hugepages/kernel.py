"""The kernel's files of huge pages (Documentation/admin-guide/mm/hugetlbpage.rst, transhuge.rst)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bulkhead.host.hugepages.places import Places
from bulkhead.model.boot import HugePages, Pages
from bulkhead.model.errors import HostError


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the kernel, and what should be in it."""

    path: Path
    value: str
    pages: Pages | None = None
    """What it is, if it is a number of pages."""


def targets(wanted: HugePages, places: Places) -> Iterator[Target]:
    """Return the files that settings concern."""
    for pages in wanted.static:
        above = places.memory if pages.node is None else places.nodes / f"node{pages.node}"
        path = above / "hugepages" / f"hugepages-{pages.size_kib}kB" / "nr_hugepages"
        yield Target(path=path, value=str(pages.count), pages=pages)
    for name, value in (("enabled", wanted.enabled), ("defrag", wanted.defrag)):
        if value is not None:
            yield Target(path=places.memory / "transparent_hugepage" / name, value=value)


def available_kib(places: Places) -> int:
    """Return how much memory could be taken without swapping (proc_meminfo(5), MemAvailable).

    Raises:
        HostError: the kernel does not say.
    """
    try:
        return int(re.findall(r"^MemAvailable:\s+(\d+) kB$", places.meminfo.read_text(), re.M)[0])
    except (OSError, IndexError) as error:
        raise HostError("the kernel does not say how much memory is available") from error


def read(path: Path) -> str:
    """Return what holds now.

    Raises:
        HostError: the kernel has no such file, or does not say.
    """
    try:
        text = path.read_text().strip()
    except FileNotFoundError as error:
        raise HostError(f"the kernel has no {path.parent.name}/{path.name}") from error
    except OSError as error:
        raise HostError(f"the kernel does not say: {error.strerror}", where=path.name) from error
    # All choices with brackets around the one that holds: always [madvise] never
    chosen = re.search(r"\[([^\]]+)\]", text)
    return chosen[1] if chosen else text


def write(path: Path, value: str) -> str:
    """Ask for a value; return the one that holds then, which may be another.

    Raises:
        HostError: the kernel refuses.
    """
    try:
        path.write_text(value)
    except OSError as error:
        raise HostError(f"the kernel refuses {value}: {error.strerror}", where=path.name) from error
    return read(path)
