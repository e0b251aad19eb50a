"""Example searches that a new user can paste."""

import json
import shlex
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from infembed.config import explain
from infembed.errors import BadConfigError
from service.schemas import SearchRequest

_SEARCHES = TypeAdapter(list[SearchRequest])


def read_examples(path: Path) -> list[SearchRequest]:
    """Read a JSON list of search requests."""
    try:
        return _SEARCHES.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BadConfigError(f"no example file at {path}") from error
    except ValidationError as error:
        raise BadConfigError(f"{path}: {explain(error)}") from error


def as_curl(search: SearchRequest, url: str) -> str:
    """Write a search as a command line that works when pasted into a shell."""
    body = json.dumps(search.model_dump(exclude_unset=True), ensure_ascii=False)
    return f"curl -s {url}/search -H 'content-type: application/json' -d {shlex.quote(body)}"
