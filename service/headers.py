"""Headers that tell browsers what an answer may do."""

from collections.abc import Iterable

Header = tuple[bytes, bytes]
LANE_HEADER = "x-lane"
"""Which lane the texts of a request waited in."""

_EVERYWHERE: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"),)
_PAGES: tuple[Header, ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
"""A page that needs styles or scripts sends a policy of its own, which names them by hash."""


def secured(headers: Iterable[Header]) -> list[Header]:
    """Add what is missing: to pages a policy that forbids everything not named, to all answers no guessing of types."""
    result = list(headers)
    names = {name for name, _ in result}
    is_page = any(name == b"content-type" and value.startswith(b"text/html") for name, value in result)
    wanted = (*_EVERYWHERE, *_PAGES) if is_page else _EVERYWHERE
    result += [header for header in wanted if header[0] not in names]
    return result
