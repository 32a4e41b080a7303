"""What the API serves of: the node's settings, its services and its system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from bulkhead.host.api.applier import Applier
from bulkhead.host.api.errors import ReadOnly
from bulkhead.host.api.places import Places
from bulkhead.host.api.updates import NoUpdater, Updater, Updates
from bulkhead.host.store.migrations import of_groups
from bulkhead.host.store.store import Store
from bulkhead.lib import atomicfile, groups
from bulkhead.lib import conditions as left
from bulkhead.model.api import OsInfo
from bulkhead.model.errors import HostError
from bulkhead.model.health import Condition
from bulkhead.model.updates import Image

if TYPE_CHECKING:
    from bulkhead.render.service import Service

P = ParamSpec("P")
T = TypeVar("T")


class Node:
    """One node.

    Args:
        places: where everything is.
        updater: does what commands of updates ask for.
    """

    def __init__(self, places: Places, *, updater: Updater | None = None) -> None:
        self.places = places
        self.os = os_info(places)
        self.groups = groups.load(places.shipped)
        self.own_groups = groups.own(places.shipped)
        self.store = Store(
            places.settings,
            pending=places.run / "pending",
            groups=self.groups,
            defaults=groups.defaults(places.shipped),
            os_version=self.os.version_id,
            schemas=of_groups(self.own_groups),
        )
        self.applier = Applier(places)
        self.updates = Updates(places.run, updater or NoUpdater(), _running(self.os))
        # The disk is slow and the store is one: its work waits for its turn, and others do not.
        self._turn = ThreadPoolExecutor(max_workers=1)

    @cached_property
    def services(self) -> Sequence[Service]:
        """Return what settings concern."""
        # All renderers; few requests ask for any.
        from bulkhead.render import own

        return own.shipped(self.places.shipped)

    def conditions(self) -> tuple[Condition, ...]:
        """Return what is wrong with the settings, and with what should have come of them."""
        told = (
            left.read(self.places.boot / name) for name in ("parameters.json", "hugepages.json")
        )
        return (*self.store.conditions(), *chain.from_iterable(told))

    async def read(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Let the store do something that changes nothing, away from the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._turn, lambda: work(*args, **named))

    async def change(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Let the store change something.

        Raises:
            ReadOnly: not until the next start of the machine.
        """
        if self.read_only:
            raise ReadOnly(
                "settings are locked down: they cannot be changed until the next start of the machine"
            )
        return await self.read(work, *args, **named)

    @property
    def read_only(self) -> bool:
        """Tell whether settings cannot be changed until the next start of the machine."""
        return self._lockdown.exists()

    def lock_down(self) -> None:
        """Refuse changes of settings from now on; a restart of the API does not end it."""
        atomicfile.write(self._lockdown, b"", mode=0o400)

    @property
    def _lockdown(self) -> Path:
        return self.places.run / "lockdown"


def os_info(places: Places) -> OsInfo:
    """Return which system runs (os-release(5)); its build is known by the root's hash.

    Raises:
        HostError: that is not written where it should be.
    """
    try:
        text = places.os_release.read_text()
        command_line = places.command_line.read_text()
    except OSError as error:
        raise HostError(
            f"cannot read which system runs: {error.strerror}", where=error.filename
        ) from error
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    # The first counts: what settings add comes after the image's own, and a quoted value may have blanks.
    words = reversed(command_line.split())
    given = dict(word.split("=", 1) for word in words if "=" in word)

    def value(name: str) -> str:
        return found.get(name, "").strip("\"'")

    return OsInfo(
        pretty_name=value("PRETTY_NAME"),
        variant_id=value("VARIANT_ID"),
        version_id=value("VERSION_ID"),
        build_id=given.get("roothash", "")[:12] or "unknown",
        arch=os.uname().machine,
    )


def _running(info: OsInfo) -> Image:
    return Image(arch=info.arch, version=info.version_id, variant=info.variant_id)
