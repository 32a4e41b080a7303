"""Certificate authorities that the node trusts beside those of its image, by a name of your own."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings.values import Certificates, Identifier, Table, only


class Bundle(Table, frozen=True):
    """One or more certificates."""

    data: Certificates | None = None
    """Base64 of PEM. An empty text takes the bundle away."""
    trusted: bool | None = None
    """Whether the node and containerd trust it. False if missing."""


Model = Annotated[dict[Identifier, Bundle], only(Identifier)]
