"""Asking the privileged network program for something."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.lib.decoding import decode_json
from bulkhead.model.errors import HostError

TIMEOUT_S = 600  # a new volume may have much to copy


class _Answer(msgspec.Struct):
    address: str | None = None
    error: str | None = None


async def attach(socket: Path, name: str) -> str:
    """Give a container its network; return its address.

    Raises:
        HostError: it could not be done, or the program does not answer.
    """
    return (await _ask(socket, "attach", name)).address or ""


async def wake(socket: Path, name: str) -> None:
    """Have the program started for a container that will need it soon; it may fail to."""
    with suppress(HostError):
        await _ask(socket, "wake", name)


async def detach(socket: Path, name: str) -> None:
    """Take a container's network back; it may have none.

    Raises:
        HostError: it could not be done, or the program does not answer.
    """
    await _ask(socket, "detach", name)


async def _ask(socket: Path, action: str, name: str) -> _Answer:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(msgspec.json.encode({"action": action, "name": name}) + b"\n")
                answer = decode_json(await reader.readline(), _Answer)
            finally:
                writer.close()
    except (OSError, TimeoutError, msgspec.MsgspecError) as error:
        raise HostError(
            f"the network program does not answer: {error}",
            where=str(socket),
            hint="see the journal of bulkhead-network.service",
        ) from error
    if answer.error is not None:
        raise HostError(f"the container has no network: {answer.error}", where=name)
    return answer
