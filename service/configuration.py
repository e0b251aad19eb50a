"""Where settings come from: options of the command, then the environment, then a TOML file, then the defaults."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from infembed.config import shown
from infembed.errors import BadConfigError
from service.settings import Settings

PREFIX = "INFEMBED_"
FILE_VARIABLE = "INFEMBED_CONFIG"
_OF_OTHER_COMMANDS = {"INFEMBED_API_KEY", "INFEMBED_DATA", "INFEMBED_REGISTRY"}
_SERVICE_LINK = re.compile(
    r"INFEMBED_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")
_STRUCTURED = {"keys"}
"""Written as JSON in the environment; what is in them is never shown in a message."""


def read_settings(environment: Mapping[str, str], *, file: Path | None = None, **options: object) -> Settings:
    """Merge all sources; an option that is None was not given. Every fault names the setting and its source."""
    path = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, found in (
        (str(path), _from_file(path) if path else {}),
        ("environment", _from_environment(environment)),
        ("option", {name: value for name, value in options.items() if value is not None}),
    ):
        values |= found
        sources |= {name: _called(name, source) for name in found}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise BadConfigError(f"settings: {_explain(error, sources)}") from error


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes, not a person, set this: it does so in every pod beside a Service called `infembed`."""
    if _SERVICE_LINK.fullmatch(name):
        return True
    return name.startswith(PREFIX) and name.endswith("_PORT") and _SERVICE_URL.match(value) is not None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadConfigError(f"no settings file at {path}; correct --config or {FILE_VARIABLE}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfigError(f"{path} is not valid TOML: {error}") from error
    for name in values:
        if name not in Settings.model_fields:
            raise BadConfigError(f"{path}: there is no setting {shown(name)}{_nearest(name, Settings.model_fields)}")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if not value or not variable.startswith(PREFIX) or is_service_link(variable, value):
            continue  # an empty variable counts as unset: compose files and charts write those
        if variable in known:
            name = known[variable]
            values[name] = _parsed(variable, value) if name in _STRUCTURED else value
        elif variable not in {FILE_VARIABLE, *_OF_OTHER_COMMANDS}:
            nearest = _nearest(variable, [*known, FILE_VARIABLE])
            raise BadConfigError(f"there is no setting {shown(variable)}{nearest} (docs/settings.md lists all)")
    return values


def _parsed(variable: str, value: str) -> object:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise BadConfigError(f"{variable} is not valid JSON: {error}") from None


def _nearest(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _called(name: str, source: str) -> str:
    if source == "environment":
        return PREFIX + name.upper()
    return f"--{name.replace('_', '-')}" if source == "option" else f"{name} in {source}"


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    """One line: which setting of which source is wrong; never what a secret's place held."""
    parts = []
    for fault in error.errors(include_url=False, include_context=False):
        name, *below = map(str, fault["loc"] or ("",))
        where = ".".join([sources.get(name, name), *below])
        message = fault["msg"].removeprefix("Value error, ")
        is_secret = name in _STRUCTURED or not name
        parts.append(f"{where}: {message}" if is_secret else f"{where}: {message} (got {shown(fault['input'])})")
    return "; ".join(part.removeprefix(": ") for part in parts)
