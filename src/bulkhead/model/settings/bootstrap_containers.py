"""Containers that run once at boot before the node's work starts, by name."""

from __future__ import annotations

from typing import Annotated, Literal

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


class BootstrapContainer(Table, frozen=True):
    """One container that prepares the node."""

    source: ImageName | None = None
    """Its image."""
    mode: Literal["off", "once", "always"] | None = None
    """Never, at the next boot alone (then the node sets it to off), or at every boot."""
    user_data: Annotated[Base64, SECRET] | None = None
    """Given to it as a file."""
    essential: bool | None = None
    """The boot fails when it does. False if missing."""
    command: tuple[SingleLine, ...] | None = None
    """Takes the place of the image's command."""


def check(containers: dict[str, BootstrapContainer], *, complete: bool) -> None:
    """Refuse to run a container without an image."""
    for name, container in containers.items():
        if complete and container.mode in ("once", "always") and not container.source:
            raise SettingsError(
                ("bootstrap-containers", name, "source"),
                f"is missing; its mode is {container.mode} and it has no image",
            )


Model = Annotated[dict[Identifier, BootstrapContainer], only(Identifier)]
