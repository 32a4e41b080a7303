"""Calls of the node's own API at boot before the node's work starts, by name."""

from __future__ import annotations

from typing import Annotated, Literal

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import Identifier, SingleLine, Table, only

PROGRAM = "apiclient"


class BootstrapCommand(Table, frozen=True):
    """Some commands that run one after the other."""

    commands: tuple[tuple[SingleLine, ...], ...] | None = None
    """Each is a list of words; the first one is `apiclient`."""
    mode: Literal["off", "once", "always"] | None = None
    """Never, at the next boot alone (then the node sets it to off), or at every boot."""
    essential: bool | None = None
    """The boot fails when one of them does. False if missing."""


def check(groups: dict[str, BootstrapCommand], *, complete: bool) -> None:
    """Refuse every program but the API's client."""
    del complete
    for name, group in groups.items():
        for index, command in enumerate(group.commands or ()):
            if command[:1] != (PROGRAM,):
                raise SettingsError(
                    ("bootstrap-commands", name, "commands", index),
                    f"does not start with {PROGRAM}, the only program that may be called",
                    hint="use a bootstrap container to run anything else",
                )


Model = Annotated[dict[Identifier, BootstrapCommand], only(Identifier)]
