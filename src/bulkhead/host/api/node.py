"""What the API serves of: the node's settings, its services and its system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from bulkhead.host.api.applier import Applier
from bulkhead.host.api.errors import ReadOnly
from bulkhead.host.api.places import Places
from bulkhead.host.api.updates import NoUpdater, Updater, Updates
from bulkhead.host.store.store import Store
from bulkhead.lib import atomicfile
from bulkhead.model.api import OsInfo
from bulkhead.model.errors import HostError
from bulkhead.model.settings.groups import Groups
from bulkhead.model.settings.keys import Settings
from bulkhead.model.updates import Image
from bulkhead.render.service import Service
from bulkhead.render.services import SERVICES

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
        self.os = os_info(places.os_release)
        self.groups = Groups(
            _shipped(places.shipped / "groups.json", dict[str, tuple[str, ...]])["groups"]
        )
        self.store = Store(
            places.settings,
            pending=places.run / "pending",
            groups=self.groups,
            defaults=_shipped(places.shipped / "defaults.json", Settings),
            os_version=self.os.version_id,
        )
        self.services: Sequence[Service] = SERVICES
        self.applier = Applier(places)
        self.updates = Updates(places.run, updater or NoUpdater(), _running(self.os))
        # The disk is slow and the store is one: its work waits for its turn, and others do not.
        self._turn = ThreadPoolExecutor(max_workers=1)

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


def os_info(path: Path) -> OsInfo:
    """Return which system runs (os-release(5)).

    Raises:
        HostError: the file is missing.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise HostError(
            f"cannot read which system runs: {error.strerror}", where=str(path)
        ) from error
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def value(name: str) -> str:
        return found.get(name, "").strip("\"'")

    return OsInfo(
        pretty_name=value("PRETTY_NAME"),
        variant_id=value("VARIANT_ID"),
        version_id=value("VERSION_ID"),
        build_id=value("BUILD_ID") or value("IMAGE_VERSION"),
        arch=os.uname().machine,
    )


def _running(info: OsInfo) -> Image:
    return Image(arch=info.arch, version=info.version_id, variant=info.variant_id)


def _shipped(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise HostError(
            f"what the image says about its settings cannot be read: {error}", where=str(path)
        ) from error
