"""What the node tells about itself, and to whom."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings.values import Table, Url, rule

Unit = Annotated[
    str,
    rule("the name of a systemd unit, as in containerd or containerd.service",
         pattern=r"[A-Za-z0-9:_.\\@-]{1,255}"),
]  # fmt: skip


class Metrics(Table, frozen=True):
    """Metrics about the node's health. Nothing is sent unless it is asked for."""

    metrics_url: Url | None = None
    """Where they are sent to."""
    send_metrics: bool | None = None
    """Whether they are sent."""
    service_checks: tuple[Unit, ...] | None = None
    """Units whose state they hold."""


Model = Metrics
