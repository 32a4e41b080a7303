"""What goes on beside containerd's transfers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from starlette.requests import ClientDisconnect

from bulkhead.host.containers import messages as m
from bulkhead.host.containers import preload, transfer
from bulkhead.host.containers import transfer_messages as tm
from bulkhead.host.containers.containerd import Containerd, unwrap, wrap
from bulkhead.host.containers.protobuf import Message
from bulkhead.host.containers.transfer import AnyStream
from bulkhead.model.errors import RemoteError


class Side:
    """containerd's end of a stream: gives what it was given, takes all, ends when `over`."""

    def __init__(self, *gives: Message) -> None:
        self.gives = [wrap(message) for message in gives]
        self.taken: list[m.Any] = []
        self.over = asyncio.Event()

    async def recv_message(self) -> m.Any | None:
        """Return the next message; there is no end."""
        if not self.gives:
            await asyncio.Event().wait()
        return self.gives.pop(0)

    async def send_message(self, message: m.Any) -> None:
        """Take a message."""
        self.taken.append(message)

    async def end(self) -> None:
        """Note that no more comes."""
        self.over.set()


class Reader(Containerd):
    """A containerd that stores an image when an archive, or `enough` of it, has come."""

    def __init__(self, *, enough: bool = False) -> None:
        self.enough = enough
        self.archive = Side(tm.WindowUpdate(update=1000))
        self.cancelled = False
        self.label = ""

    @asynccontextmanager
    async def stream(self, name: str) -> AsyncIterator[AnyStream]:
        """Yield a stream."""
        side = self.archive if name.startswith("archive") else Side()
        yield cast("AnyStream", side)

    async def transfer(self, source: Message, destination: tm.ImageStore, *, progress: str) -> None:
        """Read the archive."""
        (self.label,) = destination.labels.values()
        try:
            if not self.enough:
                await self.archive.over.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def images(self) -> list[m.Image]:
        """Return the image that was stored."""
        return [m.Image(name="demo", labels={transfer.IMPORT_LABEL: self.label})]

    @property
    def came(self) -> bytes:
        """Return what came of the archive."""
        return b"".join(unwrap(packed, tm.Data).data for packed in self.archive.taken)


class Asker(Containerd):
    """A containerd whose transfer ends when `asks` hosts have been answered."""

    def __init__(self, *asks: Message) -> None:
        self.credentials = Side(*asks)
        self._expected = len(asks)

    @asynccontextmanager
    async def stream(self, name: str) -> AsyncIterator[AnyStream]:
        """Yield a stream."""
        side = self.credentials if name.startswith("credentials") else Side()
        yield cast("AnyStream", side)

    async def transfer(self, source: Message, destination: tm.ImageStore, *, progress: str) -> None:
        """Wait for the answers."""
        while len(self.credentials.taken) < self._expected:
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the last events of progress: there are none."""
    monkeypatch.setattr(transfer, "LAST_EVENTS_S", 0.01)


async def archive(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """Yield parts, and fail at last."""
    for part in parts:
        yield part
    if error is not None:
        raise error


async def imported(there: Reader, chunks: AsyncIterator[bytes]) -> list[str]:
    """Import; give up when it takes long."""
    async with asyncio.timeout(5):
        return await transfer.import_archive(there, chunks, report=lambda progress: None)


def test_an_archive_is_sent_as_the_window_allows() -> None:
    """Whole, in order."""

    async def check() -> None:
        there = Reader()
        there.archive.gives.append(wrap(tm.WindowUpdate(update=5000)))

        assert await imported(there, archive(b"a" * 700, b"b" * 700)) == ["demo"]
        assert there.came == b"a" * 700 + b"b" * 700

    asyncio.run(check())


@pytest.mark.parametrize("error", [ClientDisconnect(), OSError("disk")])
def test_an_archive_that_breaks_off_ends_the_import(error: Exception) -> None:
    """Otherwise containerd would wait for the rest for ever."""

    async def check() -> None:
        there = Reader()
        with pytest.raises(type(error)):
            await imported(there, archive(b"half", error=error))

        assert there.cancelled

    asyncio.run(check())


def test_what_follows_an_archive_does_not_matter() -> None:
    """The images are stored before the rest has come."""

    async def check() -> None:
        there = Reader(enough=True)

        assert await imported(there, archive(b"x" * 5000)) == ["demo"]

    asyncio.run(check())


def test_an_unreadable_archive_of_the_system_is_told(tmp_path: Path) -> None:
    """And does not keep the machine's start waiting."""
    (tmp_path / "image-0.tar").mkdir()

    async def check() -> list[str]:
        async with asyncio.timeout(5):
            return await preload.preload(Reader(), archives=tmp_path, record=tmp_path / "record")

    (problem,) = asyncio.run(check())
    assert problem.startswith("image-0.tar: [Errno 21] Is a directory")


KNOWN = tm.AuthResponse(kind=tm.AUTH_CREDENTIALS, username="me", secret="it is a secret")


async def answer_to(source: str, asked: Message) -> tm.AuthResponse:
    """Pull with credentials; return what containerd gets that asks for them."""
    there = Asker(asked)
    known = transfer.Credentials(user="me", secret="it is a secret")
    async with asyncio.timeout(5):
        await transfer.pull(
            there, source=source, name="x", report=lambda progress: None, credentials=known
        )
    (answer,) = there.credentials.taken
    return unwrap(answer, tm.AuthResponse)


@pytest.mark.parametrize(
    ("registry", "host"),
    [
        ("registry.example", "registry.example"),
        ("registry.example:5000", "registry.example:5000"),
        ("registry.example:443", "registry.example"),
        ("Registry.example", "registry.example"),
        ("docker.io", "registry-1.docker.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_the_registry_gets_credentials(registry: str, host: str) -> None:
    """By the names that containerd has for it."""
    asked = tm.AuthRequest(host=host, reference=f"{registry}/team/tool:2")

    assert asyncio.run(answer_to(f"{registry}/team/tool:2", asked)) == KNOWN


@pytest.mark.parametrize(
    ("registry", "host"),
    [
        ("registry.example", "blobs.example"),
        ("registry.example", "blobs.registry.example"),
        ("registry.example", "registry.example:5000"),
        ("registry.example:5000", "registry.example"),
        ("registry.example", "docker.io"),
        ("docker.io", "cdn.docker.io"),
        ("registry.example", ""),
    ],
)
def test_nobody_else_gets_credentials(registry: str, host: str) -> None:
    """A registry may send us anywhere for a layer; who is there may ask, and name any image."""
    asked = tm.AuthRequest(host=host, reference=f"{registry}/team/tool:2")

    assert asyncio.run(answer_to(f"{registry}/team/tool:2", asked)) == tm.AuthResponse()


def test_a_question_that_is_none_ends_the_pull() -> None:
    """What it asks is not known, so nobody gets anything."""
    with pytest.raises(RemoteError, match=r"containerd sent 'containerd\.types\.transfer\.Data'"):
        asyncio.run(answer_to("registry.example/team/tool:2", tm.Data(data=b"x")))
