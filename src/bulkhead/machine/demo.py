"""The container that `bulkhead up` runs to show that the machine works: nginx, from Debian's packages."""

from __future__ import annotations

import http.client
import time

from bulkhead.build import oci, packages
from bulkhead.client.containers import Containers, read_file
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import Progress
from bulkhead.machine.state import DEMO_PORT, LOOPBACK, Record
from bulkhead.model.arch import AMD64
from bulkhead.model.containers import Port, Restart, RunRequest
from bulkhead.model.errors import HostError

NAME = "demo"
CONTAINER_PORT = 80
ANSWER_S = 120.0


def url(record: Record) -> str:
    """Return where the demo container answers on the workstation."""
    return f"http://{LOOPBACK}:{record.host_port(DEMO_PORT)}/"


def image(*, progress: Progress, locked: bool = False) -> oci.Built:
    """Return the demo container's image; made the first time.

    Raises:
        RemoteError: its packages cannot be had.
        HostError: it cannot be made.
    """
    return oci.build(
        "demo", arch=AMD64, cache=cache_dir(), progress=progress, locked=locked,
        epoch=packages.asked_epoch(),
    )  # fmt: skip


def start(record: Record, *, progress: Progress) -> None:
    """Run the demo container, unless it runs already, and wait until it answers.

    Raises:
        RemoteError: the machine or the container does not answer.
        HostError: the container's image cannot be made.
    """
    built = image(progress=progress)
    machine = Containers(record.channel())
    found = {container.name: container for container in machine.list_containers()}
    if NAME not in found:
        with progress.task("storing the demo container's image in the machine"):
            machine.import_archive(read_file(built.path))
        with progress.task("starting the demo container"):
            machine.run(
                RunRequest(
                    image=built.name,
                    pull="never",
                    name=NAME,
                    ports=(Port(host=DEMO_PORT, container=CONTAINER_PORT),),
                    restart=Restart(policy="unless-stopped"),
                )
            )
    elif found[NAME].state != "running":
        machine.start(NAME)
    with progress.task("waiting for the demo container"):
        _wait_for_page(record.host_port(DEMO_PORT))


def _wait_for_page(port: int) -> None:
    """Ask for the container's page until it comes."""
    deadline = time.monotonic() + ANSWER_S
    while True:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        try:
            connection.request("GET", "/")
            status = connection.getresponse().status
            if status == http.client.OK:
                return
            problem = f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            problem = str(error)
        finally:
            connection.close()
        if time.monotonic() > deadline:
            raise HostError(
                f"the demo container did not answer within {ANSWER_S:g} s: {problem}",
                hint=f"see what it says with: bulkhead logs {NAME}",
            )
        time.sleep(0.2)  # the port forwards at once, the server behind it takes a moment
