"""The container service of a node: started by its socket, gone when nobody asks.

python3 -I -m bulkhead.host.containers
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import uvicorn

from bulkhead.host.containers import app
from bulkhead.host.containers.containerd import Containerd
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.places import Places
from bulkhead.model.errors import Bug, BulkheadError

log = logging.getLogger("bulkhead.containers")

IDLE_S = 10.0
TOKEN = "bulkhead.channel-token"  # noqa: S105  # the credential's name


class IdleServer(uvicorn.Server):
    """A server that ends when it has had no connection for `IDLE_S` seconds.

    It stops listening first and looks once more: whoever came just then is
    served, and whoever comes later waits in the queue of the socket, which is
    systemd's too, for the next start. Nobody is turned away.
    """

    _idle_since: float | None = None
    _leaving = False

    async def on_tick(self, counter: int) -> bool:
        """Decide, ten times a second, whether to end."""
        now = asyncio.get_running_loop().time()
        if self.server_state.connections or self.server_state.tasks:
            self._idle_since = None
        elif self._leaving:
            return True
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > IDLE_S:
            for server in self.servers:
                server.close()
            self._leaving = True
        return await super().on_tick(counter)


def listeners() -> list[socket.socket]:
    """Return the sockets that systemd opened (sd_listen_fds(3)).

    Raises:
        Bug: there are none.
    """
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if count < 1 or os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise Bug("started without its socket", hint="start bulkhead-containers.socket")
    return [socket.socket(fileno=3 + number) for number in range(count)]


def token() -> str | None:
    """Return the secret that the machine's owner handed over, or None."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        return None
    try:
        return (Path(directory) / TOKEN).read_text().strip() or None
    except FileNotFoundError:
        return None


async def serve(
    sockets: list[socket.socket], places: Places, *, runtime: str = "crun", systemd: bool = True
) -> None:
    """Serve until idle or told to stop; `runtime` and `systemd` are as in `Engine`."""
    async with Containerd(path=str(places.containerd)) as containerd:
        engine = Engine(containerd, places, runtime=runtime, systemd=systemd)
        config = uvicorn.Config(
            app.make(engine, token=token()),
            http="h11",
            ws="wsproto",
            loop="asyncio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        await IdleServer(config).serve(sockets=sockets)


def main() -> int:
    """Run the service."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        asyncio.run(serve(listeners(), Places()))
    except BulkheadError:
        log.exception("failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
