"""Containers that belong to the node rather than to its work, by name: a way in, a control agent."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import (
    SECRET,
    Base64,
    Identifier,
    ImageName,
    SingleLine,
    Table,
    only,
)


class HostContainer(Table, frozen=True):
    """One container of the node."""

    source: ImageName | None = None
    """Its image."""
    enabled: bool | None = None
    """Whether it runs. False if missing."""
    superpowered: bool | None = None
    """It may do nearly everything on the node. False if missing."""
    user_data: Annotated[Base64, SECRET] | None = None
    """Given to it as a file."""
    command: tuple[SingleLine, ...] | None = None
    """Takes the place of the image's command."""


def check(containers: dict[str, HostContainer], *, complete: bool) -> None:
    """Refuse to run a container without an image."""
    for name, container in containers.items():
        if complete and container.enabled and not container.source:
            raise SettingsError(
                ("host-containers", name, "source"), "is missing; it is enabled and has no image"
            )


Model = Annotated[dict[Identifier, HostContainer], only(Identifier)]
