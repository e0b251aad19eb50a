"""The base of every configuration: frozen, strict about keys, errors in plain words."""

import reprlib
import tomllib
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from infembed.errors import AlteredArtefactError, BadConfigError

_LONGEST_SHOWN = 60
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 2, _LONGEST_SHOWN, _LONGEST_SHOWN


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


def parse_json(kind: type[_C], path: Path) -> _C:
    """Read a JSON file that an artefact carries."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise AlteredArtefactError(f"{path}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """Turn a pydantic error into one line: `key.path: what is wrong (got ...)`."""
    parts = []
    for item in error.errors(include_url=False):
        where = ".".join(str(step) for step in item["loc"]) or "document"
        parts.append(f"{where}: {item['msg']} (got {shown(item['input'])})")
    return "; ".join(parts)


def shown(value: object) -> str:
    """Write a value into a message: at most 60 characters, however long or deep it is."""
    text = _REPR.repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
