"""InF-IR-mini: the corpus that lies in this package, split by domain so that dev shares no subject with train."""

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
)
"""Of each part of the corpus some: short queries, whole texts as queries ("more like this"), opposite sides."""


class Part(StrEnum):
    """Parts of InF-IR-mini; instruct-mini is what it is tested on."""

    TRAIN = "train"
    DEV = "dev"


def read_mini(part: Part) -> Iterator[Row]:
    """Yield the rows of a part, after checking the corpus against its manifest."""
    for row in read_corpus(DIRECTORY).rows:
        if (row.domain in DEV_DOMAINS) is (part is Part.DEV):
            yield row
