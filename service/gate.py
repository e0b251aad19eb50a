"""Who may do what: keys and their scopes, and pages of other origins. Plain ASGI, before anything reads a body."""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Problem
from service.keys import Keyring, KnownKey
from service.keys import Scope as KeyScope
from service.metrics import Metrics
from service.routes import error_response

PAGES = frozenset({"/", "/docs", "/openapi.json"})
"""Show what the public source shows, so a browser may open them without a key."""
HEALTH = frozenset({"/health", "/ready"})
METRICS = frozenset({"/metrics"})
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
_HOW = "send the header `Authorization: Bearer KEY`"


class Gate:
    """Lets a request through to the application, or answers 401 or 403."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring,
        metrics: Metrics,
        open_paths: Collection[str] = PAGES,
        origins: Collection[str] = (),
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._metrics = metrics
        self._open_paths = frozenset(open_paths)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
            return
        while (await receive()).get("more_body", False):
            pass  # a client that is still writing would miss the answer; the shell bounds size and time
        self._metrics.error(problem.error_type)
        await error_response(problem, scope["path"])(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        needed = needed_scope(scope["method"], scope["path"])
        if (foreign := self._foreign_origin(headers)) is not None:
            return _forbidden(
                f"pages of {foreign[:100]} may not call this service; add their origin to INFEMBED_CORS_ORIGINS"
            )
        if not self._keyring:
            return _stranger(scope, headers) if needed is KeyScope.ADMIN else None
        if scope["path"] in self._open_paths and (scope["method"] == "GET" or scope["path"] not in PAGES):
            return None  # other methods of an open route are its router's to refuse; POST / embeds
        return self._key_problem(scope, headers, needed)

    def _key_problem(self, scope: Scope, headers: dict[bytes, bytes], needed: KeyScope | None) -> Problem | None:
        sent = _sent_key(headers)
        if not sent:
            return _unauthorized(f"this needs an API key; {_HOW}", "Bearer")
        key = self._keyring.find(sent)
        if key is None:
            return _unauthorized(f"the API key is not one of this service's; {_HOW}", 'Bearer error="invalid_token"')
        scope.setdefault("state", {})["client"] = key.name
        return None if needed is None or needed in key.scopes else _lacks(key, needed)

    def _foreign_origin(self, headers: dict[bytes, bytes]) -> str | None:
        """Return the origin of a page that may not call: a browser sends the request before it asks whether it may."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self._origins or "*" in self._origins:
            return None
        is_own = urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1")
        return None if is_own else origin


def needed_scope(method: str, path: str) -> KeyScope | None:
    """Say which scope a route takes; None: any key will do. A new route that takes work needs `embed` at least."""
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first == "admin":
        return KeyScope.ADMIN
    is_reading = method in {"GET", "HEAD", "OPTIONS"}
    if first == "collections":
        return KeyScope.SEARCH if is_reading else KeyScope.WRITE
    if first == "search":
        return KeyScope.SEARCH
    return None if is_reading else KeyScope.EMBED


def _sent_key(headers: dict[bytes, bytes]) -> str:
    """Read `Authorization: Bearer KEY`, or the key alone as some clients send it."""
    value = headers.get(b"authorization", b"").decode("latin-1").strip()
    kind, _, rest = value.partition(" ")
    return rest.strip() if kind.lower() == "bearer" else value


def _stranger(scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
    """Without keys only a program on this machine may administer: no browser, and nobody behind a proxy."""
    host = (scope.get("client") or ("",))[0]
    is_here = _is_loopback(host) and b"origin" not in headers and not any(name in headers for name in _FORWARDED)
    return None if is_here else _forbidden("without API keys, this is for programs on the service's own machine only")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _unauthorized(message: str, challenge: str) -> Problem:
    return Problem(401, "Unauthorized", message, None, {"www-authenticate": challenge})


def _lacks(key: KnownKey, needed: KeyScope) -> Problem:
    has = ", ".join(sorted(key.scopes)) or "none"
    challenge = {"www-authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'}
    return Problem(403, "Forbidden", f"this needs a key with scope {needed}; yours has {has}", None, challenge)


def _forbidden(message: str) -> Problem:
    return Problem(403, "Forbidden", message)
