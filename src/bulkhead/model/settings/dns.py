"""Which name servers the node asks. Without them it asks those that DHCP names."""

from __future__ import annotations

from bulkhead.model.settings.values import Domain, IpAddress, Table


class Dns(Table, frozen=True):
    """Name resolution."""

    name_servers: tuple[IpAddress, ...] | None = None
    """Asked instead of those that DHCP names."""
    search_list: tuple[Domain, ...] | None = None
    """Domains that are tried behind a name without a dot."""


Model = Dns
