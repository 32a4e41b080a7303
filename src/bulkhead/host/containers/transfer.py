"""Getting images into containerd: from a registry, or from an archive that comes in as bytes.

containerd's Transfer service does the work (fetch, verify digests, unpack);
here are the two side channels it wants: a stream of bytes with flow control,
and a stream of progress.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress

import msgspec
from grpclib.client import Stream
from grpclib.exceptions import StreamTerminatedError

from bulkhead.host.containers import messages as m
from bulkhead.host.containers import transfer_messages as tm
from bulkhead.host.containers.containerd import ENDED, SNAPSHOTTER, Containerd, unwrap, wrap
from bulkhead.host.containers.protobuf import Message
from bulkhead.model import reference
from bulkhead.model.errors import HostError, UserError

CHUNK = 32 * 1024  # what containerd's own client sends at most
UNNAMED = "import.localhost/image"
"""Gives a name to an image whose archive has none: this prefix and the digest."""

IMPORT_LABEL = "bulkhead/import"
LAST_EVENTS_S = 2.0
"""How long the last events of a transfer may take to come after its end."""

Report = Callable[[tm.Progress], None]
AnyStream = Stream[m.Any, m.Any]

_OCI_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks a registry. It is never printed."""

    user: str = ""
    """"" with a token."""
    secret: str
    """A password, or a token that the registry gave before."""

    def __repr__(self) -> str:
        """Tell who it is, and nothing more."""
        return f"Credentials(user={self.user!r})"


def platform() -> m.Platform:
    """Return what this machine runs, in OCI's words."""
    machine = os.uname().machine
    return m.Platform(os="linux", architecture=_OCI_NAMES.get(machine, machine))


async def pull(
    containerd: Containerd,
    *,
    source: str,
    name: str,
    report: Report,
    credentials: Credentials | None = None,
) -> None:
    """Fetch `source` from its registry and store it as `name`.

    Args:
        containerd: the connection.
        source: full name in the registry.
        name: full name to store it under.
        report: told how far it is.
        credentials: handed over when the registry asks, and to no other host.

    Raises:
        NotFound: the registry has no such image.
        UserError: it is not for this machine, or wants (other) credentials.
    """
    if credentials is None:
        origin = tm.OCIRegistry(reference=source, resolver=tm.RegistryResolver())
        await _transfer(containerd, origin, _store(name), report)
        return
    stream_name = _name("credentials")
    async with containerd.stream(stream_name) as stream:
        resolver = tm.RegistryResolver(auth_stream=stream_name)
        origin = tm.OCIRegistry(reference=source, resolver=resolver)
        await _both(
            _transfer(containerd, origin, _store(name), report),
            _authenticate(stream, credentials, registry=reference.registry(source)),
        )


async def _authenticate(stream: AnyStream, credentials: Credentials, *, registry: str) -> None:
    kind = tm.AUTH_CREDENTIALS if credentials.user else tm.AUTH_REFRESH
    known = tm.AuthResponse(kind=kind, username=credentials.user, secret=credentials.secret)
    with suppress(*ENDED):
        while (packed := await stream.recv_message()) is not None:
            # containerd asks for every host that answers 401 (core/remotes/docker/authorizer.go),
            # and a registry may have sent it to any for a layer.
            asked = unwrap(packed, tm.AuthRequest)
            own = reference.same_registry(asked.host, registry)
            await stream.send_message(wrap(known if own else tm.AuthResponse()))


async def import_archive(
    containerd: Containerd, chunks: AsyncIterator[bytes], *, report: Report
) -> list[str]:
    """Store the images of an OCI archive or a `docker save` archive; return their names.

    What `chunks` raises ends the import and is passed on.

    Raises:
        UserError: it is not such an archive, or names no image for this machine.
    """
    label = _name("import")
    stream_name = _name("archive")
    async with containerd.stream(stream_name) as stream:
        source = tm.ImageImportStream(stream=stream_name)
        prefix = tm.ImageReference(
            name=UNNAMED, is_prefix=True, allow_overwrite=True, add_digest=True,
            skip_named_digest=True,
        )  # fmt: skip
        destination = _store("")
        destination.extra_references = [prefix]
        # Progress tells the names too, but its last events can get lost when containerd
        # ends that stream.
        destination.labels = {IMPORT_LABEL: label}
        await _both(_transfer(containerd, source, destination, report), _send(stream, chunks))
    stored = await containerd.images()
    names = sorted(image.name for image in stored if image.labels.get(IMPORT_LABEL) == label)
    if not names:
        raise UserError(
            "the archive has no image for this machine",
            hint="expected an OCI archive or the output of `docker save`",
        )
    return names


def _store(name: str) -> tm.ImageStore:
    here = platform()
    return tm.ImageStore(
        name=name,
        platforms=[here],
        unpacks=[tm.UnpackConfiguration(platform=here, snapshotter=SNAPSHOTTER)],
    )


async def _both(work: Coroutine[None, None, None], supply: Coroutine[None, None, None]) -> None:
    """Do `work`, and `supply` beside it as long as that takes.

    What `supply` raises ends the work: containerd would wait for ever for what does not come.
    """
    working, supplying = asyncio.create_task(work), asyncio.create_task(supply)
    try:
        await asyncio.wait({working, supplying}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            supplying.result()
        await working
    finally:
        working.cancel()
        supplying.cancel()
        await asyncio.gather(working, supplying, return_exceptions=True)


async def _transfer(
    containerd: Containerd, source: Message, destination: tm.ImageStore, report: Report
) -> None:
    progress = _name("progress")
    async with containerd.stream(progress) as stream:
        reading = asyncio.create_task(_report(stream, report))
        try:
            await _explained(containerd.transfer(source, destination, progress=progress))
            # The last events ("saved …") may still be on their way; containerd ends
            # the stream after them.
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(reading), LAST_EVENTS_S)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, *ENDED):
                await reading


async def _explained(transfer: Awaitable[None]) -> None:
    try:
        await transfer
    except HostError as error:
        if "server gave HTTP response to HTTPS client" in error.what:
            raise UserError(
                "the registry speaks plain HTTP, which containerd's transfer service does not",
                hint="give the registry a certificate, or import the image as an archive",
            ) from error
        raise


async def _report(stream: AnyStream, report: Report) -> None:
    # containerd resets the stream after the last event instead of ending it.
    with suppress(StreamTerminatedError):
        while (packed := await stream.recv_message()) is not None:
            report(unwrap(packed, tm.Progress))


async def _send(stream: AnyStream, chunks: AsyncIterator[bytes]) -> None:
    """Send bytes as fast as the other side's window allows, until it has enough."""
    window = 0
    with suppress(*ENDED):
        async for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                while window <= 0:
                    packed = await stream.recv_message()
                    if packed is None:
                        return
                    window += unwrap(packed, tm.WindowUpdate).update
                piece = rest[: min(CHUNK, window)]
                await stream.send_message(wrap(tm.Data(data=bytes(piece))))
                window -= len(piece)
                rest = rest[len(piece) :]
        await stream.end()


def _name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(8)}"
