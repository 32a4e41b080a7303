"""One endpoint of the API: what it takes, what it answers, and who does the work.

The table of endpoints is the only place where that is said. Requests are read
by it, and the OpenAPI document is written from it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bulkhead.host import serving
from bulkhead.host.api.errors import line, status_of
from bulkhead.host.serving import CLOSE, Gone, Peer, TooLarge, TooSlow
from bulkhead.lib.decoding import decode_json
from bulkhead.model.api import BODY_LIMIT, PREFIX
from bulkhead.model.errors import BulkheadError, HostError, UserError
from bulkhead.model.problem import Problem

log = logging.getLogger(__name__)

DEEPEST = 64
"""Tables and lists inside one another in a body; settings need six."""

Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B")


class Text(msgspec.Struct, frozen=True):
    """An answer that is not JSON."""

    text: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A method and a path; `of` makes one."""

    method: str
    path: str
    summary: str
    query: type[msgspec.Struct]
    body: object
    """Type of the JSON body; None if it has none, and then whatever comes is passed over."""
    answer: object
    """Type of the JSON answer; None if it has no body."""
    status: int
    errors: tuple[int, ...]
    """Besides those that every endpoint has."""
    respond: Callable[[Request], Awaitable[Response]]


def of(
    method: str,
    path: str,
    handler: Callable[[Q, B, Peer], Awaitable[object]],
    *,
    summary: str,
    query: type[Q],
    body: type[B],
    answer: object = None,
    errors: tuple[int, ...] = (),
) -> Endpoint:
    """Return an endpoint.

    Args:
        method: GET, POST, PATCH or DELETE.
        path: with parameters as Starlette has them; they come in the query.
        handler: does the work; gets the query, the body and who asks.
        summary: what it does, in one sentence.
        query: the parameters' type.
        body: the body's type; `type(None)` if it has none.
        answer: see `Endpoint`; without it the status is 204.
        errors: see `Endpoint`.
    """

    async def respond(request: Request) -> Response:
        try:
            raw = await serving.read_body(request, limit=BODY_LIMIT)
            parameters = _query({**request.query_params, **request.path_params}, query)
            found = await handler(parameters, _body(raw, body), request.state.peer)
        except BulkheadError as error:
            return failed(request, error)
        except OSError as error:
            return failed(request, _refused(error))
        if answer is None:
            return Response(status_code=204)
        if isinstance(found, Text):
            return Response(found.text, media_type="application/text")
        return Response(msgspec.json.encode(found), media_type="application/json")

    return Endpoint(
        method=method, path=path, summary=summary, query=query,
        body=None if body is type(None) else body, answer=answer,
        status=204 if answer is None else 200, errors=errors, respond=respond,
    )  # fmt: skip


def failed(request: Request, error: BulkheadError) -> Response:
    """Return what a client gets: a line of text, or a `Problem` from Bulkhead's own endpoints."""
    status = status_of(error)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    headers = CLOSE if isinstance(error, TooLarge | TooSlow | Gone) else None
    return told(request, Problem.of(error), line(error), status=status, headers=headers)


async def unrouted(request: Request, error: Exception) -> Response:
    """Answer a request for which there is no endpoint."""
    assert isinstance(error, HTTPException)
    known = {404: "there is no such endpoint", 405: "this endpoint has other methods"}
    what = known.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    try:
        # A client that is still writing would see a broken connection instead of the answer.
        await serving.read_body(request, limit=BODY_LIMIT)
    except UserError:
        headers |= CLOSE
    problem = Problem(error=what, where=f"{request.method} {request.url.path}")
    text = f"{problem.where}: {what}"
    return told(request, problem, text, status=error.status_code, headers=headers)


def told(
    request: Request,
    problem: Problem,
    text: str,
    *,
    status: int,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error in the form that its reader wants."""
    wanted = request.headers.get("accept", "").partition(";")[0].strip()
    if request.url.path.startswith(PREFIX) or wanted == "application/json":
        raw = msgspec.json.encode(problem)
        return Response(raw, status, headers, media_type="application/json")
    return Response(text, status, headers, media_type="text/plain")


def _query(given: Mapping[str, str], kind: type[Q]) -> Q:
    try:
        return msgspec.convert(given, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise UserError(f"the parameters cannot be read: {error}") from error


def _body(raw: bytes, kind: type[B]) -> B:
    if kind is type(None):
        return None
    if not raw and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        raw = b"{}"  # clients leave out a body in which everything is optional
    try:
        found = decode_json(raw, kind)
    except msgspec.MsgspecError as error:
        raise UserError(f"the request cannot be read: {error}") from error
    if isinstance(found, dict):
        _measure(found)
    return found


def _measure(tree: object) -> None:
    """Refuse what is nested deeper than settings are; what works on them is recursive."""
    waiting: list[Iterator[object]] = [iter((tree,))]
    while waiting:
        if len(waiting) > DEEPEST:
            break
        value = next(waiting[-1], waiting)
        if value is waiting:
            waiting.pop()
        elif isinstance(value, dict):
            waiting.append(iter(value.values()))
        elif isinstance(value, list):
            waiting.append(iter(value))
    else:
        return
    raise UserError(f"the request is nested deeper than {DEEPEST} levels")


def _refused(error: OSError) -> HostError:
    where = None if error.filename is None else str(error.filename)
    made = HostError(f"the machine refused: {error.strerror or error}", where=where)
    made.__cause__ = error
    return made
