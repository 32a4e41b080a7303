"""The container service as HTTP: routes only carry requests to the engine.

Errors are JSON (`Problem`) with a status that says whose turn it is: 4xx the
caller's, 5xx the machine's. Long work answers with one JSON event per line.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from bulkhead import __version__
from bulkhead.host.containers import attached, logs
from bulkhead.host.containers.containerd import Busy, Exists, NotFound
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.transfer import Credentials
from bulkhead.host.containers.transfer_messages import Progress
from bulkhead.host.serving import CLOSE, Guard, Peer, TooLarge, TooSlow, read_body
from bulkhead.lib.decoding import decode_json
from bulkhead.model.containers import (
    Event,
    Health,
    PullRequest,
    RunRequest,
    StopRequest,
)
from bulkhead.model.errors import BulkheadError, UserError
from bulkhead.model.problem import Problem

log = logging.getLogger(__name__)

BODY_LIMIT = 1024 * 1024
T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
Work = Callable[[Callable[[Progress], None]], Awaitable[tuple[str, ...]]]

_STATUS: Mapping[type[BulkheadError], int] = {
    NotFound: 404, Exists: 409, Busy: 409, TooSlow: 408, TooLarge: 413, UserError: 400,
}  # fmt: skip


def make(engine: Engine, *, token: str | None) -> ASGIApp:
    """Return the application.

    Args:
        engine: what does the work.
        token: asked of whoever comes over TCP; without one TCP is refused.
    """
    service = _Service(engine)
    routes = [
        Route("/v1/health", _safe(service.health)),
        Route("/v1/containers", _safe(service.containers), methods=["GET"]),
        Route("/v1/containers", _safe(service.run), methods=["POST"]),
        Route("/v1/containers/{name}", _safe(service.inspect), methods=["GET"]),
        Route("/v1/containers/{name}", _safe(service.remove), methods=["DELETE"]),
        Route("/v1/containers/{name}/start", _safe(service.start), methods=["POST"]),
        Route("/v1/containers/{name}/stop", _safe(service.stop), methods=["POST"]),
        Route("/v1/containers/{name}/logs", _safe(service.logs), methods=["GET"]),
        WebSocketRoute("/v1/containers/{name}/exec", service.exec),
        Route("/v1/images", _safe(service.images), methods=["GET"]),
        Route("/v1/images/pull", _safe(service.pull), methods=["POST"]),
        Route("/v1/images/import", _safe(service.import_archive), methods=["POST"]),
        Route("/v1/images/{name:path}", _safe(service.remove_image), methods=["DELETE"]),
    ]
    refused = Problem(error="the token is missing or wrong", hint="is it this machine's?")
    return Guard(
        _Least(Starlette(routes=routes)),
        token=token,
        refusal=_json(refused, status=401, headers=CLOSE),
    )


class _Least:
    """Lets other users of the node than ours run programs in containers, and nothing else.

    That is what the node's API does for its clients. Should somebody take it
    over, containers with more rights than those there are stay out of reach.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: Peer = scope["state"]["peer"]
        # Over TCP it was the token that let them in.
        if not peer.local or peer.uid in (0, os.getuid()) or scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        refused = Problem(error=f"user {peer.uid} may only run programs in containers")
        await _json(refused, status=403, headers=CLOSE)(scope, receive, send)


class _AnswerWhileReading(StreamingResponse):
    """An answer that begins before the request has ended.

    With newer versions of uvicorn, Starlette receives messages meanwhile, to
    hear of the client's end, and throws away those that are the body.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.stream_response(send)
        except OSError as error:
            raise ClientDisconnect from error


class _Service:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def health(self, request: Request) -> Response:
        version = await self._engine.containerd.version()
        return _json(Health(version=__version__, containerd=version.version, runtime="crun"))

    async def containers(self, request: Request) -> Response:
        return _json(await self._engine.containers())

    async def run(self, request: Request) -> Response:
        wanted = await _body(request, RunRequest)
        return _json(await self._engine.run(wanted, report=lambda progress: None), status=201)

    async def inspect(self, request: Request) -> Response:
        return _json(await self._engine.inspect(request.path_params["name"]))

    async def remove(self, request: Request) -> Response:
        force = request.query_params.get("force") == "true"
        return _json(await self._engine.remove(request.path_params["name"], force=force))

    async def start(self, request: Request) -> Response:
        return _json(await self._engine.start(request.path_params["name"]))

    async def stop(self, request: Request) -> Response:
        wanted = await _body(request, StopRequest)
        name = request.path_params["name"]
        return _json(await self._engine.stop(name, timeout_s=wanted.timeout))

    async def logs(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self._engine.inspect(name)
        tail = _number(request.query_params.get("tail"))

        async def more() -> bool:
            try:
                return await self._engine.may_write(name)
            except NotFound:
                return False

        follow = more if request.query_params.get("follow") == "true" else None
        stream = logs.read(self._engine.places.log(name), tail=tail, follow=follow)
        return StreamingResponse(stream, media_type="application/octet-stream")

    async def exec(self, socket: WebSocket) -> None:
        await attached.serve(socket, self._engine, socket.path_params["name"])

    async def images(self, request: Request) -> Response:
        return _json(await self._engine.list_images())

    async def pull(self, request: Request) -> Response:
        wanted = await _body(request, PullRequest)
        credentials = None
        if wanted.username is not None and wanted.password is not None:
            credentials = Credentials(user=wanted.username, secret=wanted.password)

        async def work(report: Callable[[Progress], None]) -> tuple[str, ...]:
            pulled = await self._engine.pull(wanted.image, report=report, credentials=credentials)
            return (pulled,)

        return _events(work)

    async def import_archive(self, request: Request) -> Response:
        async def work(report: Callable[[Progress], None]) -> tuple[str, ...]:
            return tuple(await self._engine.import_archive(request.stream(), report=report))

        return _AnswerWhileReading(_lines(work), media_type="application/x-ndjson")

    async def remove_image(self, request: Request) -> Response:
        name = await self._engine.remove_image(request.path_params["name"])
        return _json(Event(event="removed", images=(name,)))


def _safe(handler: Handler) -> Handler:
    async def safe(request: Request) -> Response:
        try:
            return await handler(request)
        except BulkheadError as error:
            status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
            if status == 500:
                log.exception("%s %s", request.method, request.url.path)
            unread = CLOSE if isinstance(error, TooLarge | TooSlow) else None
            return _json(Problem.of(error), status=status, headers=unread)
        except OSError as error:
            log.exception("%s %s", request.method, request.url.path)
            return _json(_refused(error), status=500)

    return safe


def _refused(error: OSError) -> Problem:
    """Return what a client gets when the machine's files fail: mostly, its disk is full."""
    where = None if error.filename is None else str(error.filename)
    return Problem(error=f"the machine refused: {error.strerror or error}", where=where)


def _json(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


async def _body(request: Request, kind: type[T]) -> T:
    data = await read_body(request, limit=BODY_LIMIT)
    try:
        return decode_json(data or b"{}", kind)
    except msgspec.MsgspecError as error:
        raise UserError(f"the request cannot be read: {error}") from error


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 20:
        raise UserError(f"expected a number of lines, got {text[:40]!r}")
    return int(text)


def _events(work: Work) -> Response:
    return StreamingResponse(_lines(work), media_type="application/x-ndjson")


async def _lines(work: Work) -> AsyncIterator[bytes]:
    """Yield one line per event of `work`; it is cancelled when nobody reads any more."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def report(progress: Progress) -> None:
        queue.put_nowait(
            Event(
                event=progress.event,
                what=progress.name or None,
                done=progress.progress or None,
                total=progress.total or None,
            )
        )

    async def run() -> None:
        try:
            queue.put_nowait(Event(event="done", images=await work(report)))
        except BulkheadError as error:
            queue.put_nowait(Event(event="failed", problem=Problem.of(error)))
        except OSError as error:
            log.exception("failed")
            queue.put_nowait(Event(event="failed", problem=_refused(error)))
        finally:
            queue.put_nowait(None)

    task = asyncio.create_task(run())
    try:
        while (event := await queue.get()) is not None:
            yield msgspec.json.encode(event) + b"\n"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
