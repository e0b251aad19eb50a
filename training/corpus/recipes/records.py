"""Records of a data set, each checked before a recipe uses it: a broken one is set aside, the rest go on."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from evaluation.suites.sources import read_bytes, read_text
from infembed.config import explain
from infembed.errors import AlteredArtefactError
from training.corpus.files import Quarantined


class Record(BaseModel):
    """The columns a recipe uses of a data set's record; others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    _place: int = PrivateAttr(default=0)

    @property
    def place(self) -> int:
        """Return the record's line or position in its file, from 1."""
        return self._place


R = TypeVar("R", bound=Record)
V = TypeVar("V")


def read_records(directory: Path, name: str, kind: type[R], aside: list[Quarantined]) -> Iterator[R]:
    """Read a JSONL file, gzipped or not; broken lines go to `aside` by their number."""
    lines = read_bytes(directory, name).removesuffix(b"\n").split(b"\n")
    return _checked(lines, name, kind.model_validate_json, aside)


def check_records(values: Iterable[object], name: str, kind: type[R], aside: list[Quarantined]) -> Iterator[R]:
    """Check what a JSON file holds; broken records go to `aside` by their place."""
    return _checked(values, name, kind.model_validate, aside)


def _checked(values: Iterable[V], name: str, check: Callable[[V], R], aside: list[Quarantined]) -> Iterator[R]:
    for place, value in enumerate(values, start=1):
        try:
            record = check(value)
        except ValidationError as error:
            aside.append(Quarantined(place, f"{name}: {explain(error)}"))
        else:
            record._place = place
            yield record


def read_json(directory: Path, name: str) -> Any:
    """Read a JSON file, gzipped or not."""
    try:
        return json.loads(read_text(directory, name))
    except (ValueError, RecursionError) as error:
        raise AlteredArtefactError(
            f"{directory / name} is not valid JSON: {error}; fetch the data set again"
        ) from error
