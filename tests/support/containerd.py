"""A real containerd with the real container service in front of it, on this machine.

Containers run in cgroups of this machine and in network namespaces without a
network. It needs root.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from bulkhead.build import tools
from bulkhead.client.containers import Containers
from bulkhead.host import serving
from bulkhead.host.containers import app, spec
from bulkhead.host.containers.containerd import Containerd
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.places import Places
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.lib.run import spawn

CONFIG = """
version = 2
root = "{place}/containerd"
state = "{place}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{place}/containerd.sock"
[ttrpc]
  address = "{place}/ttrpc.sock"
# A collection of garbage right after the start meets the first import.
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "1h"
"""


class Machine(msgspec.Struct, frozen=True):
    """What stands for a node."""

    place: Path
    """Directory of everything; short, for sockets are in it."""

    @property
    def socket(self) -> Path:
        """Return the container service's socket."""
        return self.place / "service.sock"

    @property
    def containers(self) -> Containers:
        """Return a client of the container service."""
        return Containers(self.socket)

    @property
    def places(self) -> Places:
        """Return where things are."""
        return Places(
            records=self.place / "records", volumes=self.place / "volumes", shared=(),
            logs=self.place / "logs", run=self.place / "run", networks=self.place / "networks",
            namespaces=self.place / "netns", containerd=self.place / "containerd.sock",
            network=self.place / "network.sock",
        )  # fmt: skip


@contextmanager
def machine(place: Path, *, names: tuple[str, ...]) -> Iterator[Machine]:
    """Run containerd and the container service until the block ends.

    Args:
        place: an empty directory.
        names: of containers that may be started.
    """
    if os.geteuid() != 0:
        pytest.fail("needs root: containers are made of mounts, namespaces and cgroups")
    made = Machine(place)
    for name in ("records", "volumes", "logs", "run", "networks", "netns"):
        (place / name).mkdir()
    (place / "config.toml").write_text(CONFIG.format(place=place))
    job = {
        "tools": str(tools.tools("containers", cache=cache_dir(), progress=SILENT).root),
        "place": str(place),
        "networks": [str(made.places.namespace(name)) for name in names],
        "commands": [["/usr/bin/containerd", "--config", f"{place}/config.toml"]],
        "env": {"PATH": "/usr/bin:/usr/sbin"},
    }
    root = repository_root()
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    with (place / "log").open("wb") as log:
        running = spawn(
            [sys.executable, "-P", "-m", "tests.support.contained", json.dumps(job)],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait(made.places.containerd, place / "log")
        with _network(made.places), _possible_limits(), _service(made):
            yield made
            for container in made.containers.list_containers():
                made.containers.remove(container.name, force=True)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def _wait(path: Path, log: Path) -> None:
    limit = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > limit:
            pytest.fail(f"containerd does not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)


@contextmanager
def _network(places: Places) -> Iterator[None]:
    """Answer as the network program does; the networks are there already."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(places.network))
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                with link:
                    asked = json.loads(link.recv(4096))
                    files = places.files(asked["name"])
                    if asked["action"] == "attach":
                        files.mkdir(exist_ok=True)
                        for name in ("hostname", "hosts", "resolv.conf"):
                            (files / name).touch()
                    link.sendall(b'{"address": "192.0.2.2"}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def _possible_limits() -> Iterator[None]:
    """Ask for no more open files than this machine lets root have: some take that right from it."""
    wanted = spec.process
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)

    def possible(**what: Any) -> spec.Json:
        limit = {"type": "RLIMIT_NOFILE", "soft": min(65536, most), "hard": min(524288, most)}
        return {**wanted(**what), "rlimits": [limit]}

    spec.process = possible
    try:
        yield
    finally:
        spec.process = wanted


@contextmanager
def _service(made: Machine) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(made.socket))
        listener.listen()
        servers: list[uvicorn.Server] = []
        ready = threading.Event()

        async def serve() -> None:
            async with Containerd(path=str(made.places.containerd)) as containerd:
                engine = Engine(containerd, made.places, systemd=False)
                servers.append(uvicorn.Server(serving.config(app.make(engine, token=None))))
                ready.set()
                await servers[0].serve(sockets=[listener])

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            servers[0].should_exit = True
            thread.join()
