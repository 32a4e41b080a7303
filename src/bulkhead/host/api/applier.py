"""Asks the apply agent to make settings take effect, and waits until it has."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from bulkhead.host.api.errors import NotFound
from bulkhead.host.api.places import Places
from bulkhead.model.apply import MESSAGE_LIMIT, ApplyRequest, ApplyResult

log = logging.getLogger(__name__)

PATIENCE_S = 900.0
"""For services to restart, one after another; a unit's own limit is 90 s."""


class Applier:
    """The apply agent, as the API sees it. What fails is in the result."""

    def __init__(self, places: Places) -> None:
        self._socket = places.apply
        self._result = places.applied

    async def ask(self, request: ApplyRequest) -> ApplyResult:
        """Send a request and return its result; one that says why, if there is none."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                raw = await _exchange(self._socket, msgspec.json.encode(request) + b"\n")
            result = msgspec.json.decode(raw, type=ApplyResult)
        except TimeoutError:
            result = _none(f"the apply agent did not answer within {PATIENCE_S:g} s")
        except (OSError, EOFError) as error:
            result = _none(f"the apply agent cannot be reached: {error}")
        except (msgspec.MsgspecError, ValueError) as error:
            result = _none(f"the apply agent's answer cannot be read: {error}")
        if not result.ok and request.action == "apply":
            log.error("settings are committed but not applied: %s", _reason(result))
        return result

    def last(self) -> ApplyResult:
        """Return what came of the last time, at boot or later.

        Raises:
            NotFound: nothing has been applied since the start of the machine.
        """
        try:
            return msgspec.json.decode(self._result.read_bytes(), type=ApplyResult)
        except FileNotFoundError as error:
            raise NotFound(
                "nothing has been applied since the start of the machine; "
                "the image's own settings are in force"
            ) from error
        except msgspec.MsgspecError as error:
            return _none(f"the last result cannot be read: {error}")


async def _exchange(path: Path, line: bytes) -> bytes:
    if len(line) > MESSAGE_LIMIT:
        raise ValueError(f"a request may have {MESSAGE_LIMIT} bytes, this one has {len(line)}")
    reader, writer = await asyncio.open_unix_connection(path, limit=MESSAGE_LIMIT)
    try:
        writer.write(line)
        await writer.drain()
        raw = await reader.readline()
    finally:
        writer.close()
    if not raw.endswith(b"\n"):
        raise EOFError("it hung up")
    return raw


def _none(error: str) -> ApplyResult:
    return ApplyResult(ok=False, error=error)


def _reason(result: ApplyResult) -> str:
    failed = [f"{s.name}: {s.error}" for s in result.services if s.status == "failed"]
    return "; ".join([*([result.error] if result.error else []), *failed])
