"""FEVER-symmetric: a claim with a sentence that supports it and one that refutes it.

The official test file is TEST; of the other file nothing is used that shares a claim or a sentence with it. Two claims
share their two sentences, so the split goes by the sentences.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Found, Recipe
from training.corpus.recipes.records import Record, read_records
from training.corpus.recipes.sides import Side, Topic, TwoSided
from training.corpus.recipes.splits import train_or_dev
from training.corpus.rows import InstructionType
from training.corpus.texts import normalized

_TRAIN_FILE = "fever_symmetric_dev.jsonl.gz"
_TEST_FILE = "fever_symmetric_test.jsonl.gz"
_SIDES = {
    "SUPPORTS": Side("evidence.support", "evidence.spare_refute"),
    "REFUTES": Side("evidence.refute", "evidence.spare_support"),
}
_LICENSE = "CC BY-SA 3.0"
_TWO_SIDED = TwoSided(
    sides=(_SIDES["SUPPORTS"], _SIDES["REFUTES"]),
    kind=InstructionType.STANCE,
    spared_kind=InstructionType.EXCLUSION,
    source="fever-symmetric",
    license=_LICENSE,
    max_rows_per_topic=2,
)


class _Evidence(Record):
    claim: str
    evidence: str
    gold_label: Literal["SUPPORTS", "REFUTES"]


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    if split is Split.TEST:
        topics = _topics(read_records(directory, _TEST_FILE, _Evidence, aside))
    else:
        tested = _texts(read_records(directory, _TEST_FILE, _Evidence, []))
        records = read_records(directory, _TRAIN_FILE, _Evidence, aside)
        untested = (record for record in records if not tested & _texts([record]))
        topics = [topic for topic in _topics(untested) if train_or_dev("fever-symmetric", _sentences(topic)) is split]
    yield from _TWO_SIDED.rows(topics, split)
    yield from aside


def _topics(records: Iterable[_Evidence]) -> list[Topic]:
    topics: dict[str, Topic] = {}
    for record in records:
        topic = topics.setdefault(record.claim, Topic(record.claim, record.place, record.claim, domain="encyclopedia"))
        topic.add(_SIDES[record.gold_label], record.evidence)
    return list(topics.values())


def _texts(records: Iterable[_Evidence]) -> set[str]:
    return {normalized(text) for record in records for text in (record.claim, record.evidence)}


def _sentences(topic: Topic) -> str:
    return "\n".join(sorted(text for texts in topic.documents.values() for text in texts))


RECIPE = Recipe(
    name="fever-symmetric",
    folder="fever-symmetric",
    files=(_TRAIN_FILE, _TEST_FILE),
    license=_LICENSE,
    origin="https://github.com/TalSchuster/FeverSymmetric",
    rows=_rows,
)
