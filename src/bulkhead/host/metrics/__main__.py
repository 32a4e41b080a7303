"""The program.

    python3 -I -m bulkhead.host.metrics

Sends one event: `boot_success` until one was delivered since the machine
started, `health_ping` after that. Started by timers that only run when the
settings say where to send to. A server that is away is no failure of the node:
the journal has it, and the next run tries again.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

import msgspec

from bulkhead.host.metrics import health, message, sending
from bulkhead.host.metrics.message import Event
from bulkhead.host.metrics.places import Places
from bulkhead.lib import atomicfile
from bulkhead.lib.decoding import decode_json
from bulkhead.model.errors import BulkheadError, HostError, RemoteError, UserError
from bulkhead.model.metrics import Metrics

log = logging.getLogger("bulkhead.metrics")


def run(
    places: Places,
    environment: Mapping[str, str],
    *,
    pauses_s: tuple[float, ...] = sending.PAUSES_S,
) -> Event:
    """Send what is due, and return what it was.

    Raises:
        RemoteError: it was not delivered.
        UserError: the proxy's URL is of no use.
        HostError: the machine's files cannot be read or written.
    """
    try:
        metrics = decode_json(places.metrics.read_bytes(), Metrics)
        release = message.os_release(places.os_release.read_text())
    except (OSError, UnicodeError, msgspec.DecodeError) as error:
        raise HostError(f"cannot read what to send: {error}") from error
    booted = places.state / "boot-success"
    event: Event = "health_ping" if booted.exists() else "boot_success"
    failed = health.failed(metrics.checks, places.bus) if event == "health_ping" else []
    query = message.parameters(event, metrics, release, arch=os.uname().machine, failed=failed)
    sending.send(
        metrics.url, message.target(metrics.url, query),
        authorities=places.authorities, environment=environment, pauses_s=pauses_s,
    )  # fmt: skip
    if event == "boot_success":
        try:
            atomicfile.write(booted, b"")
        except OSError as error:
            raise HostError(f"cannot be written: {error.strerror}", where=str(booted)) from error
    return event


def main() -> int:
    """Run the program."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        run(Places(), os.environ)
    except (RemoteError, UserError) as error:
        log.warning("%s", error)
    except BulkheadError as error:
        log.error("%s", error)  # noqa: TRY400 - in words
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
