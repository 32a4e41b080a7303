"""Typed calls of a machine's container service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from bulkhead.client.connection import Connection, Missing, failed, read
from bulkhead.model import reference
from bulkhead.model.channel import Channel
from bulkhead.model.containers import (
    Container,
    Ended,
    Event,
    Health,
    Image,
    PullRequest,
    RunRequest,
    StopRequest,
)
from bulkhead.model.errors import RemoteError

CHUNK = 256 * 1024

Report = Callable[[Event], None]


def _ignore(event: Event) -> None:
    pass


class Containers:
    """The containers of one machine.

    Args:
        where: the channel to the machine, or the service's Unix socket.
    """

    def __init__(self, where: Channel | Path) -> None:
        self.connection = Connection(where)

    def health(self) -> Health:
        """Ask who answers."""
        return self.connection.call("GET", "/v1/health", Health)

    def list_containers(self) -> list[Container]:
        """Return all containers, newest last."""
        return self.connection.call("GET", "/v1/containers", list[Container])

    def inspect(self, name: str) -> Container:
        """Return one container.

        Raises:
            Missing: there is none.
        """
        return self.connection.call("GET", _path(name), Container)

    def run(self, request: RunRequest, *, report: Report = _ignore) -> Container:
        """Make and start a container; fetch its image first if the machine lacks it.

        Raises:
            Conflict: the name is taken.
            UserError: the request cannot be fulfilled.
        """
        if request.pull == "always":
            self.pull(PullRequest(image=request.image), report=report)
        stored = msgspec.structs.replace(request, pull="never")
        try:
            return self._run(stored)
        except Missing:
            if request.pull != "missing":
                raise
        self.pull(PullRequest(image=request.image), report=report)
        return self._run(stored)

    def _run(self, request: RunRequest) -> Container:
        return self.connection.call("POST", "/v1/containers", Container, body=request)

    def start(self, name: str) -> Container:
        """Start a container that has ended.

        Raises:
            Missing: there is none.
            Conflict: it runs.
        """
        return self.connection.call("POST", _path(name, "start"), Container)

    def stop(self, name: str, *, timeout_s: float = 10) -> Ended:
        """Stop a container: SIGTERM, and SIGKILL after `timeout_s`.

        Raises:
            Missing: there is none.
        """
        wanted = StopRequest(timeout=timeout_s)
        return self.connection.call(
            "POST", _path(name, "stop"), Ended, body=wanted, timeout_s=timeout_s + 60
        )

    def remove(self, name: str, *, force: bool = False) -> Ended:
        """Forget a container.

        Raises:
            Missing: there is none.
            Conflict: it runs and `force` was not given.
        """
        return self.connection.call("DELETE", _path(name) + ("?force=true" if force else ""), Ended)

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[bytes]:
        """Yield what a container wrote; with `follow`, until it will not write any more.

        Raises:
            Missing: there is none.
        """
        query = {"follow": "true"} if follow else {}
        if tail is not None:
            query["tail"] = str(tail)
        path = _path(name, "logs") + (f"?{urlencode(query)}" if query else "")
        with self.connection.open("GET", path) as response:
            while data := response.read1(CHUNK):
                yield data

    def list_images(self) -> list[Image]:
        """Return all images, by name."""
        return self.connection.call("GET", "/v1/images", list[Image])

    def pull(self, request: PullRequest, *, report: Report = _ignore) -> str:
        """Fetch an image from its registry; return its full name.

        Raises:
            UserError: there is none, or it wants (other) credentials.
        """
        body = msgspec.json.encode(request)
        (name,) = self._events("/v1/images/pull", body, report) or (request.image,)
        return name

    def import_archive(self, chunks: Iterable[bytes], *, report: Report = _ignore) -> list[str]:
        """Send an OCI archive or the output of `docker save`; return the images' names.

        Raises:
            UserError: it is not such an archive.
        """
        return list(self._events("/v1/images/import", chunks, report))

    def _events(self, path: str, body: bytes | Iterable[bytes], report: Report) -> tuple[str, ...]:
        with self.connection.open("POST", path, body=body) as response:
            for line in response:
                event = read(line, Event, where=path)
                if event.problem is not None:
                    raise failed(event.problem)
                if event.event == "done":
                    return event.images or ()
                report(event)
        raise RemoteError("the machine stopped in the middle of it", where=path)

    def remove_image(self, image: str) -> str:
        """Remove an image's name; return it in full.

        Raises:
            Missing: there is none.
        """
        name = reference.normalize(image)
        self.connection.call("DELETE", f"/v1/images/{quote(name)}", Event)
        return name


def read_file(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes."""
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            yield data


def _path(name: str, action: str = "") -> str:
    return f"/v1/containers/{quote(name, safe='')}" + (f"/{action}" if action else "")
