"""Rules for the units of the image."""

from __future__ import annotations

from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "image/rootfs/usr/lib/systemd/system"


def settings(name: str) -> dict[str, str]:
    """Return what a unit sets; of what it sets more than once, the last."""
    lines = (UNITS / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def service(socket: str) -> str:
    """Return the service that a socket starts."""
    return settings(socket).get("Service", socket.removesuffix(".socket") + ".service")


SOCKETS = sorted(
    path.name
    for path in UNITS.glob("bulkhead-*.socket")
    if "ExecStart" in settings(service(path.name))  # What runs no program cannot fail.
)


def test_there_are_sockets() -> None:
    """Otherwise the next test would look at nothing."""
    assert "bulkhead-containers.socket" in SOCKETS


@pytest.mark.parametrize("name", SOCKETS)
def test_a_failing_agent_is_never_given_up(name: str) -> None:
    """Its service has no limit of starts, which would end the socket; the socket sets the pace."""
    socket = settings(name)

    assert settings(service(name)).get("StartLimitIntervalSec") == "0"
    assert "PollLimitIntervalSec" in socket
    assert "PollLimitBurst" in socket
