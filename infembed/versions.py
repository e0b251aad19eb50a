"""Schema versions: what another release wrote is refused with the command that renews it, or the release that reads it.

A new optional field leaves the version alone: to a release that does not know it, artefacts that have it are newer.
A new field that readers need, or another meaning of an old one, raises the version.
"""

import re
from collections.abc import Mapping
from typing import TypeGuard

from pydantic import ValidationError

from infembed import version
from infembed.errors import BadArtefactError, NewerArtefactError

_TOO_LARGE = 1_000_000
_RELEASE = re.compile(r"\d[0-9A-Za-z.+!-]{0,30}")


def refuse_older(what: str, found: object, *, reads: int, remedy: str, data: Mapping[str, object]) -> None:
    """Refuse a version below the one that is read; `data`, what was read, may say who wrote it."""
    if is_version(found) and found < reads:
        writer = _writer(data)
        wrote = f" (InF-Embed {writer} wrote it)" if writer else ""
        raise BadArtefactError(
            f"{what} has schema version {found}{wrote}, InF-Embed {version()} reads version {reads}; {remedy}"
        )


def refuse_newer(what: str, found: object, *, reads: int, data: Mapping[str, object]) -> None:
    """Refuse a version above the one that is read."""
    if is_version(found) and found > reads:
        raise NewerArtefactError(
            f"{what} has schema version {found}, InF-Embed {version()} reads version {reads}; {_needed(data)}"
        )


def refuse_unknown_fields(what: str, error: ValidationError, *, data: Mapping[str, object]) -> None:
    """Refuse fields that only a later release can have written: call this where nobody else can have."""
    unknown = [str(item["loc"][-1]) for item in error.errors() if item["type"] == "extra_forbidden"]
    if unknown:
        names = ", ".join(f"{name:.40}" for name in unknown[:3])
        raise NewerArtefactError(f"{what} has {names}, which InF-Embed {version()} does not know; {_needed(data)}")


def is_foreign(data: Mapping[str, object]) -> bool:
    """Whether an artefact says that another release wrote it."""
    return _writer(data) is not None


def is_version(found: object) -> TypeGuard[int]:
    """Whether this can be a schema version at all."""
    return type(found) is int and 0 <= found < _TOO_LARGE


def _needed(data: Mapping[str, object]) -> str:
    writer = _writer(data)
    return (
        f"reading it needs InF-Embed {writer}, which wrote it, or newer" if writer else "reading it needs a newer one"
    )


def _writer(data: Mapping[str, object]) -> str | None:
    """Return the other release that wrote an artefact, if it says so in a form that can be shown."""
    tools = data.get("made_with")
    found = tools.get("inf-embed") if isinstance(tools, dict) else None
    is_shown = isinstance(found, str) and _RELEASE.fullmatch(found) and found != version()
    return str(found) if is_shown else None
