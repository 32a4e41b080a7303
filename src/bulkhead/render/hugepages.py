"""Huge pages, which the kernel sets aside while it runs, and best at its start."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bulkhead.model.boot import HUGEPAGES, HugePages, Pages
from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step
from bulkhead.render.text import word

SIZES_KIB = {
    "64Ki": 64, "2Mi": 2048, "32Mi": 32768, "512Mi": 524288, "1Gi": 1048576, "16Gi": 16777216,
}  # fmt: skip
_STATIC = "kernel.hugepages.static"


def render(settings: Settings) -> tuple[File, ...]:
    """Return what is wanted; nothing if that is what the image does anyway."""
    enabled = _choice(settings, "enabled")
    wanted = HugePages(
        static=tuple(_pages(settings)),
        essential=read.get(settings, f"{_STATIC}.essential", bool) or False,
        enabled=enabled,
        defrag=_choice(settings, "defrag") or enabled,
    )
    if not (wanted.static or wanted.enabled or wanted.defrag):
        return ()
    return (File(path=HUGEPAGES, data=msgspec.json.encode(wanted, order="sorted") + b"\n"),)


def _choice(settings: Settings, name: str) -> str | None:
    key = f"kernel.hugepages.transparent.{name}"
    value = read.text(settings, key)
    return None if value is None else word(value, key)


def _pages(settings: Settings) -> Iterator[Pages]:
    for name, size in SIZES_KIB.items():
        key = f"{_STATIC}.{name}.count"
        count = read.text(settings, key)
        try:
            # "512" for all NUMA nodes together, or "0:128,1:256".
            for item in count.split(",") if count is not None else ():
                node, colon, pages = item.rpartition(":")
                yield Pages(size_kib=size, count=int(pages), node=int(node) if colon else None)
        except ValueError as error:
            raise RenderError(
                f"expected a number of pages, got {count!r}", where=f"settings.{key}"
            ) from error


SERVICE = Service(
    name="hugepages",
    keys=("kernel.hugepages",),
    render=render,
    files={"hugepages": HUGEPAGES},
    steps=(Step(verb="restart", unit="bulkhead-hugepages@now.service"),),
)
