"""The node's API: started by its sockets, gone when nobody asks.

python3 -I -m bulkhead.host.api
"""

from __future__ import annotations

import socket
import sys
from functools import partial

from bulkhead.host import serving, websockets
from bulkhead.host.api import app
from bulkhead.host.api.node import Node
from bulkhead.host.api.places import Places


async def serve(sockets: list[socket.socket], places: Places) -> None:
    """Serve until idle or told to stop."""
    node = Node(places)
    config = serving.config(app.make(node, token=serving.token()), sockets=websockets.Strict)
    await serving.IdleServer(config, busy=lambda: node.updates.busy).serve(sockets=sockets)


def main() -> int:
    """Run the service."""
    return serving.run(partial(serve, places=Places()))


if __name__ == "__main__":
    sys.exit(main())
