"""The container service of a node: started by its socket, gone when nobody asks.

python3 -I -m bulkhead.host.containers
"""

from __future__ import annotations

import socket
import sys
from functools import partial

from bulkhead.host import serving
from bulkhead.host.containers import app
from bulkhead.host.containers.containerd import Containerd
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.places import Places


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
    return serving.run(partial(serve, places=Places()))


if __name__ == "__main__":
    sys.exit(main())
