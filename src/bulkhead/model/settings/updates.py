"""Where updates come from and which of them this node takes."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings.values import SEMVER, Table, Url, rule, whole

VersionLock = Annotated[
    str, rule('"latest" or a version, as in 1.4.2', pattern=rf"latest|v?{SEMVER}")
]


class Updates(Table, frozen=True):
    """Updates of the whole system."""

    metadata_base_url: Url | None = None
    """Directory with the signed metadata of the update repository."""
    targets_base_url: Url | None = None
    """Directory with the images themselves."""
    seed: Annotated[int, whole(0, 2**32 - 1)] | None = None
    """Decides when in a wave this node's turn is; made at random if missing."""
    version_lock: VersionLock | None = None
    """`latest`, or the one version that this node should run."""
    ignore_waves: bool | None = None
    """Take an update as soon as it is published."""


Model = Updates
