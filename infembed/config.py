"""The base of every configuration: frozen, strict about keys, errors in plain words."""

import json
import reprlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from infembed.errors import AlteredArtefactError, BadConfigError
from infembed.versions import is_foreign, refuse_newer, refuse_older, refuse_unknown_fields


class Config(BaseModel):
    """An immutable configuration that refuses unknown keys and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file; every fault names the file, the key and what was expected."""
        try:
            with path.open("rb") as file:
                raw = tomllib.load(file)
        except FileNotFoundError as error:
            raise BadConfigError(f"no configuration file at {path}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadConfigError(f"{path} is not valid TOML: {error}") from error
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise BadConfigError(f"{path}: {explain(error)}") from error


_C = TypeVar("_C", bound=Config)


def parse_json(kind: type[_C], path: Path, *, remedy: str = "make it again") -> _C:
    """Read a JSON file that an artefact carries; `remedy` ends the message of a failure."""
    raw = path.read_bytes()
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        _refuse_other_version(kind, raw, path, error, remedy=remedy)
        raise AlteredArtefactError(f"{path}: {explain(error)}; {remedy}") from error


def _refuse_other_version(kind: type[_C], raw: bytes, path: Path, error: ValidationError, *, remedy: str) -> None:
    """Say of a file that could not be read that another release wrote it, if one did."""
    field = kind.model_fields.get("schema_version")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return
    if field is not None and isinstance(data, dict):
        found = data.get("schema_version")
        refuse_older(str(path), found, reads=field.default, remedy=remedy, data=data)
        refuse_newer(str(path), found, reads=field.default, data=data)
        if is_foreign(data):
            refuse_unknown_fields(str(path), error, data=data)


def explain(error: ValidationError) -> str:
    """Turn a pydantic error into one line: `key.path: what is wrong (got ...)`."""
    parts = [
        f"{_where(item['loc'])}: {_cut(item['msg'], _MESSAGE_CHARACTERS)} (got {shown(item['input'])})"
        for item in error.errors(include_url=False)[:_SHOWN_FAULTS]
    ]
    if error.error_count() > _SHOWN_FAULTS:
        parts.append(f"and {error.error_count() - _SHOWN_FAULTS:,} more faults")
    return "; ".join(parts)


def shown(value: object) -> str:
    """Show a value that came from outside in at most 60 printable characters, however deep, long or odd it is."""
    return _cut(_REPR.repr(value), _SHOWN_CHARACTERS)


class _BoundedRepr(reprlib.Repr):
    """Looks at the beginning of a container only, and never spells out an integer of thousands of digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = _SHOWN_CHARACTERS

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > _LARGEST_INTEGER_BITS:
            return f"an integer of {x.bit_length():,} bits"
        return super().repr_int(x, level)


_SHOWN_CHARACTERS = 60
_SHOWN_FAULTS = 5
_SHOWN_STEPS = 6
_MESSAGE_CHARACTERS = 400
_LARGEST_INTEGER_BITS = 1024
_REPR = _BoundedRepr()


def _where(steps: Sequence[int | str]) -> str:
    names = [step if isinstance(step, str) and _is_plain(step) else shown(step) for step in steps]
    if len(names) > _SHOWN_STEPS:
        names = [*names[: _SHOWN_STEPS // 2], "...", *names[-_SHOWN_STEPS // 2 :]]
    return ".".join(names) or "document"


def _is_plain(step: str) -> bool:
    return len(step) <= _SHOWN_CHARACTERS and step.isprintable()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
