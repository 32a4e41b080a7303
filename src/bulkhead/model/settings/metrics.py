"""What the node tells about itself, and to whom."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import Table, is_url, rule

Unit = Annotated[
    str,
    rule("the name of a systemd unit, as in containerd or containerd.service",
         pattern=r"[A-Za-z0-9:_.\\@-]{1,255}"),
]  # fmt: skip


def is_server(text: str) -> bool:
    """Tell whether a text is where metrics can go: by HTTP, without a password that nothing would hide."""
    from urllib.parse import urlsplit

    if not is_url(text) or not text.startswith(("http://", "https://")):
        return False
    return "@" not in urlsplit(text).netloc


Server = Annotated[
    str,
    rule("a URL that starts with https:// or http:// and has no user in it", check=is_server),
]


class Metrics(Table, frozen=True):
    """Metrics about the node's health. Nothing is sent unless it is asked for."""

    metrics_url: Server | None = None
    """Where they are sent to: a server of yours."""
    send_metrics: bool | None = None
    """Whether they are sent. Then there has to be a URL."""
    service_checks: tuple[Unit, ...] | None = None
    """Units that have to be active for the node to count as healthy."""


def check(metrics: Metrics, *, complete: bool) -> None:
    """Refuse to send to nobody: Bulkhead has no server of its own."""
    if complete and metrics.send_metrics and metrics.metrics_url is None:
        raise SettingsError(
            ("metrics", "metrics-url"), "is missing, and send-metrics is true",
            hint="there is no server that metrics go to by themselves; give the URL of yours",
        )  # fmt: skip


Model = Metrics
