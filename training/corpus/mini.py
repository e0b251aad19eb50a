"""InF-IR-mini: the corpus that lies in this package, split by domain; subjects of train and dev touch."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from training.corpus.files import read_corpus
from training.corpus.rows import Row

DIRECTORY = Path(__file__).parent / "inf-ir-mini"
DEV_DOMAINS = frozenset(
    {"copyright", "dentistry", "forestry", "geology", "linguistics", "mental-health", "robotics", "web-accessibility"}
    | {"like-incident", "like-walk", "papers-archaeology", "papers-databases", "papers-seismology"}
    | {"stance-animals", "stance-energy", "stance-sport", "stance-vehicles"}
    | {"kinds-landlords", "kinds-laundry", "kinds-theatre-visits"}
)
"""Of each part of the corpus some: short queries, whole texts as queries, opposite sides, unusual wishes."""


class Part(StrEnum):
    """Parts of InF-IR-mini; it is tested on the suites of this package (`evaluation.suites.builtin`)."""

    TRAIN = "train"
    DEV = "dev"


def read_mini(part: Part) -> Iterator[Row]:
    """Yield the rows of a part, after checking the corpus against its manifest."""
    for row in read_corpus(DIRECTORY).rows:
        if (row.domain in DEV_DOMAINS) is (part is Part.DEV):
            yield row
