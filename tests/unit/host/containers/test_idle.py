"""Leaving when idle, without turning anybody away."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from bulkhead.client.containers import Containers
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.run import spawn
from bulkhead.model.errors import HostError

# As systemd would: the listening socket is open before and after the program.
PROGRAM = """
import asyncio, importlib, socket, sys
from pathlib import Path
from bulkhead.host import serving
from bulkhead.host.containers.places import Places
main = importlib.import_module("bulkhead.host.containers.__main__")
serving.IDLE_S = 0.3
places = Places(containerd=Path("/nonexistent"), records=Path("/nonexistent"))
asyncio.run(main.serve([socket.socket(fileno=int(sys.argv[1]))], places))
"""


class Manager:
    """Starts the program when somebody comes and it does not run, like a socket unit."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.codes: list[int] = []

    def _run(self) -> None:
        number = self._listener.fileno()
        env = {**os.environ, "PYTHONPATH": str(repository_root() / "src")}
        while not self._over.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                argv = [sys.executable, "-c", PROGRAM, str(number)]
                self.codes.append(spawn(argv, env=env, pass_fds=(number,)).wait(30))

    def __enter__(self) -> Manager:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.slow
def test_a_client_that_comes_while_it_leaves_is_served(tmp_path: Path) -> None:
    """Requests at every moment around the end are answered, by this process or the next."""
    answered = 0
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with Manager(listener) as manager:
            containers = Containers(tmp_path / "s")
            for step in range(8):
                with pytest.raises(HostError, match="containerd does not answer"):
                    containers.health()
                answered += 1
                time.sleep(0.27 + step * 0.05)  # sweeps over the moment of leaving

    assert answered == 8
    assert len(manager.codes) > 1
    assert set(manager.codes) == {0}
