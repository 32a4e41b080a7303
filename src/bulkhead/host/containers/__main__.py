"""The container service of a node: started by its socket, gone when nobody asks.

python3 -I -m bulkhead.host.containers
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from bulkhead.host import serving
from bulkhead.host.containers import app
from bulkhead.host.containers.containerd import Containerd
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.places import Places
from bulkhead.model.errors import BulkheadError

log = logging.getLogger("bulkhead.containers")


async def serve(
    sockets: list[socket.socket], places: Places, *, runtime: str = "crun", systemd: bool = True
) -> None:
    """Serve until idle or told to stop; `runtime` and `systemd` are as in `Engine`."""
    async with Containerd(path=str(places.containerd)) as containerd:
        engine = Engine(containerd, places, runtime=runtime, systemd=systemd)
        service = app.make(engine, token=serving.token())
        await serving.IdleServer(serving.config(service)).serve(sockets=sockets)


def main() -> int:
    """Run the service."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        asyncio.run(serve(serving.listeners(), Places()))
    except BulkheadError:
        log.exception("failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
