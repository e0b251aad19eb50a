"""Manifests: JSON that vouches for an artefact's files and, by a digest over its own fields, for itself."""

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from infembed.config import Config, explain, shown
from infembed.errors import AlteredArtefactError, BadArtefactError

SEAL = "manifest_sha256"
"""The field with the digest of all other fields."""

_C = TypeVar("_C", bound=Config)


def write_sealed(path: Path, manifest: Config) -> None:
    """Write a manifest and its seal."""
    text = json.dumps(sealed(manifest.model_dump(mode="json")), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_sealed(kind: type[_C], path: Path, *, version: int, remedy: str) -> _C:
    """Read a manifest; refuses other schema versions and any field changed since it was sealed."""
    return parse_sealed(kind, path.read_bytes(), path, version=version, remedy=remedy)


def parse_sealed(kind: type[_C], raw: bytes, path: Path, *, version: int, remedy: str) -> _C:
    """Parse what was read from `path`."""
    try:
        data = json.loads(raw)
        is_intact = isinstance(data, dict) and data == sealed(data)
    except (ValueError, RecursionError) as error:
        raise AlteredArtefactError(f"{path} is not valid JSON ({error}); {remedy}") from error
    found = data.get("schema_version") if isinstance(data, dict) else None
    if found != version:
        raise BadArtefactError(f"{path} has schema version {shown(found)}, this release reads {version}; {remedy}")
    if not is_intact:
        raise AlteredArtefactError(
            f"{path} was changed after it was written: its fields do not have the digest it records; {remedy}"
        )
    del data[SEAL]
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise AlteredArtefactError(f"{path}: {explain(error)}; {remedy}") from error


def sealed(data: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the fields with their seal in place of the one they had."""
    fields = {name: value for name, value in data.items() if name != SEAL}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return {**fields, SEAL: hashlib.sha256(canonical.encode()).hexdigest()}
