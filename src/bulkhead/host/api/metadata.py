"""What settings concern: services, their files, and everything at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import msgspec

from bulkhead.host.api.endpoint import Endpoint, of
from bulkhead.host.api.errors import NotFound
from bulkhead.host.api.node import Node
from bulkhead.host.api.settings import NOTHING, given, listed, starting
from bulkhead.host.serving import Peer
from bulkhead.model.api import (
    FileInfo,
    Keys,
    Model,
    Names,
    NoQuery,
    Prefix,
    ServiceInfo,
)
from bulkhead.model.settings.keys import parse

if TYPE_CHECKING:
    from bulkhead.render.service import Service, Step

T = TypeVar("T")


class MetadataService:
    """Endpoints about what settings are for."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def endpoints(self) -> list[Endpoint]:
        """Return the table."""
        return [
            of("GET", "/", self.everything, query=Prefix, body=NOTHING, answer=Model, errors=(400,),
               summary="Settings, services, files and the system; what starts with `prefix`."),
            of("GET", "/metadata/affected-services", self.affected, query=Keys, body=NOTHING,
               answer=dict[str, list[str]], errors=(400,),
               summary="Which services each setting concerns."),
            of("GET", "/metadata/setting-generators", self.generators, query=NoQuery, body=NOTHING,
               answer=dict[str, str], summary="Programs that make values; there are none."),
            of("GET", "/v2/metadata/setting-generators", self.generators, query=NoQuery,
               body=NOTHING, answer=dict[str, str], summary="The same."),
            of("GET", "/metadata/templates", self.templates, query=Keys, body=NOTHING,
               answer=dict[str, str], errors=(400,), summary="Templates of values; there are none."),
            of("GET", "/services", self.services, query=Names, body=NOTHING,
               answer=dict[str, ServiceInfo], errors=(400, 404),
               summary="What settings concern, and what makes it read them again."),
            of("GET", "/configuration-files", self.files, query=Names, body=NOTHING,
               answer=dict[str, FileInfo], errors=(400, 404),
               summary="Files that are made from settings."),
        ]  # fmt: skip

    @cached_property
    def _services(self) -> dict[str, ServiceInfo]:
        return {service.name: _service(service) for service in self._node.services}

    @cached_property
    def _files(self) -> dict[str, FileInfo]:
        return {
            name: FileInfo(path=path, template_path=self._made_by(service))
            for service in self._node.services
            for name, path in service.files.items()
        }

    def _made_by(self, service: Service) -> str:
        own = service.name in self._node.own_groups
        return f"groups/{service.name}" if own else service.render.__module__

    async def everything(self, query: Prefix, body: None, peer: Peer) -> Model:
        """Return all there is. A part in which nothing can start with `prefix` is left out."""
        prefix = "" if query.prefix is None else given("prefix", query.prefix)
        settings = None
        if _can_match("settings", prefix):
            settings = starting(await self._node.read(self._node.store.live), prefix)
        return Model(
            settings=settings,
            services=_matching("services", lambda: self._services, prefix),
            configuration_files=_matching("configuration-files", lambda: self._files, prefix),
            os=_matching("os", lambda: msgspec.to_builtins(self._node.os), prefix),
        )

    async def affected(self, query: Keys, body: None, peer: Peer) -> dict[str, list[str]]:
        """Look each key up, then what is above it; one that concerns nothing is left out."""
        from bulkhead.render.services import affected

        found = {
            name: [s.name for s in affected([parse(name)], self._node.services)]
            for name in listed("keys", query.keys)
        }
        return {name: services for name, services in found.items() if services}

    async def generators(self, query: NoQuery, body: None, peer: Peer) -> dict[str, str]:
        """Return nothing: what a value depends on is asked for when files are made."""
        return {}

    async def templates(self, query: Keys, body: None, peer: Peer) -> dict[str, str]:
        """Return nothing: values are not made from templates here."""
        listed("keys", query.keys)
        return {}

    async def services(self, query: Names, body: None, peer: Peer) -> dict[str, ServiceInfo]:
        """Return services."""
        return _selected("service", self._services, query)

    async def files(self, query: Names, body: None, peer: Peer) -> dict[str, FileInfo]:
        """Return files."""
        return _selected("configuration file", self._files, query)


def _service(service: Service) -> ServiceInfo:
    return ServiceInfo(
        configuration_files=tuple(service.files),
        restart_commands=tuple(_command(step) for step in service.steps),
    )


def _command(step: Step) -> str:
    return f"systemctl {step}" if step.unit else str(step)


def _can_match(section: str, prefix: str) -> bool:
    return f"{section}.".startswith(prefix) or prefix.startswith(f"{section}.")


def _matching(section: str, known: Callable[[], dict[str, T]], prefix: str) -> dict[str, T] | None:
    if not _can_match(section, prefix):
        return None
    return {name: v for name, v in known().items() if f"{section}.{name}".startswith(prefix)}


def _selected(what: str, known: dict[str, T], query: Names) -> dict[str, T]:
    if query.names is not None:
        names = listed("names", query.names)
        for name in names:
            if name not in known:
                raise NotFound(f"there is no {what} {name[:80]!r}")
        return {name: known[name] for name in names}
    if query.prefix is not None:
        prefix = given("prefix", query.prefix)
        return {name: value for name, value in known.items() if name.startswith(prefix)}
    return known
