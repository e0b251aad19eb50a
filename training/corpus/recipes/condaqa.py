"""CondaQA: a yes/no question, and edits of one passage from which the answer is yes or no.

The official dev file is what `infembed evaluate` measures on: TEST here, otherwise read only to leave out its
passages, of which a few stand in both files.
"""

from collections.abc import Iterator
from pathlib import Path

from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Found, Recipe
from training.corpus.recipes.records import Record, read_records
from training.corpus.recipes.sides import Side, Topic, TwoSided
from training.corpus.recipes.splits import train_or_dev
from training.corpus.rows import InstructionType
from training.corpus.texts import normalized

_TRAIN_FILE = "test_from_fewshot_union.jsonl.gz"
_TEST_FILE = "dev.jsonl.gz"
_SIDES = {"YES": Side("polarity.yes", "polarity.not_no"), "NO": Side("polarity.no", "polarity.not_yes")}
_LICENSE = "Apache-2.0, passages CC BY-SA"
_TWO_SIDED = TwoSided(
    sides=(_SIDES["YES"], _SIDES["NO"]),
    kind=InstructionType.NEGATION,
    spared_kind=InstructionType.NEGATION,
    source="condaqa",
    license=_LICENSE,
    max_rows_per_topic=2,
)


class _Answer(Record):
    passage_id: int
    question_id: str
    passage: str
    question: str
    label: str


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    if split is Split.TEST:
        answers = read_records(directory, _TEST_FILE, _Answer, aside)
    else:
        tested = {normalized(answer.passage) for answer in read_records(directory, _TEST_FILE, _Answer, [])}
        answers = (
            answer
            for answer in read_records(directory, _TRAIN_FILE, _Answer, aside)
            if train_or_dev("condaqa", str(answer.passage_id)) is split and normalized(answer.passage) not in tested
        )
    yield from _TWO_SIDED.rows(_topics(answers), split)
    yield from aside


def _topics(answers: Iterator[_Answer]) -> list[Topic]:
    topics: dict[str, Topic] = {}
    for answer in answers:
        if side := _SIDES.get(answer.label):  # a few labels are spans of text
            identifier = f"{answer.passage_id}-{answer.question_id}"
            topic = Topic(identifier, answer.place, answer.question, domain="encyclopedia")
            topics.setdefault(identifier, topic).add(side, answer.passage)
    return list(topics.values())


RECIPE = Recipe(
    name="condaqa",
    folder="condaqa",
    files=(_TRAIN_FILE, _TEST_FILE),
    license=_LICENSE,
    origin="https://github.com/AbhilashaRavichander/CondaQA",
    rows=_rows,
)
