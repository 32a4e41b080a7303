"""The API as one application: the table of endpoints, the guard before it, errors around it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from bulkhead.host.api import exec
from bulkhead.host.api.endpoint import Endpoint, unrouted
from bulkhead.host.api.metadata import MetadataService
from bulkhead.host.api.node import Node
from bulkhead.host.api.own import OwnService
from bulkhead.host.api.settings import SettingsService
from bulkhead.host.api.system import SystemService
from bulkhead.host.serving import CLOSE, Guard, OneLarge
from bulkhead.model.api import PREFIX


def endpoints(node: Node) -> list[Endpoint]:
    """Return the whole table."""
    parts = (SettingsService, MetadataService, SystemService, OwnService)
    return [endpoint for part in parts for endpoint in part(node).endpoints()]


def routes(table: Sequence[Endpoint], node: Node) -> list[BaseRoute]:
    """Return what is served: the table, its description, and `/exec`, which is a WebSocket."""

    async def document(request: Request) -> Response:
        from bulkhead.host.api import openapi  # asked for by people and tools, rarely

        raw = msgspec.json.encode(openapi.document(table))
        return Response(raw, media_type="application/json")

    return [
        *(Route(endpoint.path, endpoint.respond, methods=[endpoint.method]) for endpoint in table),
        Route(f"{PREFIX}/openapi.json", document),
        WebSocketRoute("/exec", exec.endpoint(node.places.containers)),
    ]


def make(node: Node, *, token: str | None) -> ASGIApp:
    """Return the application.

    Args:
        node: what it serves of.
        token: asked of whoever does not come through a Unix socket; without one they are refused.
    """
    application = Starlette(
        routes=routes(endpoints(node), node), exception_handlers={HTTPException: unrouted}
    )
    application.router.redirect_slashes = False
    refusal = PlainTextResponse("the token is missing or wrong", 401, headers=CLOSE)
    return Guard(OneLarge(application), token=token, refusal=refusal)
