"""Where the node gets its time from."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings.values import SingleLine, Table, is_address, is_url, rule


def _is_server(text: str) -> bool:
    return is_address(text) or is_url(text)


TimeServer = Annotated[str, rule("the name or address of a time server", check=_is_server)]


class Ntp(Table, frozen=True):
    """Time servers."""

    time_servers: tuple[TimeServer, ...] | None = None
    """Names, addresses or URLs, asked in this order."""
    options: tuple[SingleLine, ...] | None = None
    """As in chrony.conf(5). systemd-timesyncd follows `minpoll N` and `maxpoll N`, no others."""


Model = Ntp
