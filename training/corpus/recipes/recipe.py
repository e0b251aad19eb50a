"""What a recipe is, and how it makes rows of records that may be broken."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from evaluation.suites.splits import Split
from infembed.config import explain
from training.corpus.files import Quarantined
from training.corpus.rows import Row

Found = Row | Quarantined


@dataclass(frozen=True)
class Recipe:
    """A data set with its licence, and the function that makes rows of its folder for one split.

    `rows` yields the same rows in the same order each time; what shares a document or topic lies in one split.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    license: str
    origin: str
    rows: Callable[[Path, Split], Iterator[Found]]


def make_row(number: int, **fields: object) -> Found:
    """Make a row, or say what is wrong with record `number` of the source that it was to be made of."""
    try:
        return Row.model_validate(fields)
    except ValidationError as error:
        return Quarantined(number, explain(error))
