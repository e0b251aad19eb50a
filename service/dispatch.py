"""The short way to the routes that take the load: a look into a table, where FastAPI tries one route after another."""

from collections.abc import Callable

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from infembed.errors import InfEmbedError
from service.release import Release, Releases
from service.routes import JsonRoute

ANSWERED_ERRORS = (InfEmbedError, RequestValidationError, HTTPException)
"""What a route may raise for a client to hear of; anything else is a fault of ours."""


class Dispatch:
    """Answers what the current release has in its table; all else is the application's."""

    def __init__(
        self, app: ASGIApp, *, releases: Releases, answer_error: Callable[[Request, Exception], Response]
    ) -> None:
        self._app = app
        self._releases = releases
        self._answer_error = answer_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:  # a request to reload comes along here, and must hold on to no release
            await self._app(scope, receive, send)
            return
        release, route = found
        scope["route"] = route
        request = Request(scope, receive)
        with release.serving():
            try:
                response = await route.answer(request)
            except ANSWERED_ERRORS as error:
                response = self._answer_error(request, error)
            await response(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[Release, JsonRoute] | None:
        release = self._releases.loaded
        route = release.table.get((scope["method"], scope["path"])) if release else None
        return (release, route) if release and route else None
