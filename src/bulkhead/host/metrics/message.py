"""What is sent, and nothing else: the query parameters of Bottlerocket's metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from bulkhead.model.metrics import Metrics

Event = Literal["boot_success", "health_ping"]
SENDER = "bulkhead"


def parameters(
    event: Event, metrics: Metrics, os: Mapping[str, str], *, arch: str, failed: Sequence[str]
) -> list[tuple[str, str]]:
    """Return names and values in their order.

    Args:
        event: what has happened. Health is part of a `health_ping` alone, as in Bottlerocket.
        metrics: from the settings.
        os: os-release(5).
        arch: the processor's, as in `x86_64`.
        failed: checked units that are not active.
    """
    found = [
        ("sender", SENDER),
        ("event", event),
        ("version", os.get("VERSION_ID", "")),
        ("variant", os.get("VARIANT_ID", "")),
        ("arch", arch),
        ("version_lock", metrics.version_lock),
        ("ignore_waves", _word(value=metrics.ignore_waves)),
    ]
    if metrics.seed is not None:
        found.insert(5, ("seed", str(metrics.seed)))
    if event == "health_ping":
        found += [("failed_services", ",".join(sorted(failed))),
                  ("is_healthy", _word(value=not failed))]  # fmt: skip
    return found


def target(url: str, query: Sequence[tuple[str, str]]) -> str:
    """Return a URL's path with these parameters after those it has, as a request line has it."""
    parts = urlsplit(url)
    asked = "&".join(filter(None, (quote(parts.query, safe="%/?:@!$&'()*+,;=~"), urlencode(query))))
    path = quote(parts.path, safe="%/:@!$&'()*+,;=~") or "/"
    return f"{path}?{asked}"


def os_release(text: str) -> dict[str, str]:
    """Return the fields of os-release(5)."""
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, _, value in lines}


def _word(*, value: bool) -> str:
    return "true" if value else "false"
