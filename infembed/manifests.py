"""Manifests: JSON that vouches for an artefact's files and, by a digest over its own fields, for itself."""

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from infembed.config import Config, explain, shown
from infembed.errors import AlteredArtefactError
from infembed.versions import is_version, refuse_newer, refuse_older, refuse_unknown_fields

SEAL = "manifest_sha256"
"""The field with the digest of all other fields."""

_C = TypeVar("_C", bound=Config)


def write_sealed(path: Path, manifest: Config) -> None:
    """Write a manifest and its seal."""
    text = json.dumps(sealed(manifest.model_dump(mode="json")), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_sealed(kind: type[_C], path: Path, *, version: int, remedy: str, renew: str | None = None) -> _C:
    """Read a manifest; refuses other schema versions and any field changed since it was sealed.

    `remedy` ends the message about damage, `renew` that about an older version, where it is not the same.
    """
    return parse_sealed(kind, path.read_bytes(), path, version=version, remedy=remedy, renew=renew)


def parse_sealed(kind: type[_C], raw: bytes, path: Path, *, version: int, remedy: str, renew: str | None = None) -> _C:
    """Parse what was read from `path`.

    Seals are the same in all versions from now on, so a newer version is believed only if the seal is whole.
    """
    try:
        data = json.loads(raw)
        is_intact = isinstance(data, dict) and data == sealed(data)
    except (ValueError, RecursionError) as error:
        raise AlteredArtefactError(f"{path} is not valid JSON ({error}); {remedy}") from error
    found = data.get("schema_version") if isinstance(data, dict) else None
    if not is_version(found):
        raise AlteredArtefactError(f"{path} has no schema version (found {shown(found)}); {remedy}")
    refuse_older(str(path), found, reads=version, remedy=renew or remedy, data=data)
    if not is_intact:
        raise AlteredArtefactError(
            f"{path} was changed after it was written: its fields do not have the digest it records; {remedy}"
        )
    refuse_newer(str(path), found, reads=version, data=data)
    del data[SEAL]
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        refuse_unknown_fields(str(path), error, data=data)
        raise AlteredArtefactError(f"{path}: {explain(error)}; {remedy}") from error


def sealed(data: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the fields with their seal in place of the one they had."""
    fields = {name: value for name, value in data.items() if name != SEAL}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return {**fields, SEAL: hashlib.sha256(canonical.encode()).hexdigest()}
