"""The node's API: started by its sockets, gone when nobody asks.

python3 -I -m bulkhead.host.api
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from bulkhead.host import serving, websockets
from bulkhead.host.api import app
from bulkhead.host.api.node import Node
from bulkhead.host.api.places import Places
from bulkhead.model.errors import BulkheadError

log = logging.getLogger("bulkhead.api")


async def serve(sockets: list[socket.socket], places: Places) -> None:
    """Serve until idle or told to stop."""
    node = Node(places)
    config = serving.config(app.make(node, token=serving.token()), sockets=websockets.Strict)
    await serving.IdleServer(config, busy=lambda: node.updates.busy).serve(sockets=sockets)


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
