"""Topics with two sides, such as arguments for and against: each side asked for, and each left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import NamedTuple

from evaluation.suites.draft import choose, digest_number
from evaluation.suites.splits import Split
from training.corpus.recipes.recipe import Found, make_row
from training.corpus.recipes.wordings import choose_wording
from training.corpus.rows import InstructionType
from training.corpus.texts import normalized

_TRIES = 20


class Side(NamedTuple):
    """The sections with wordings that ask for a side, and with wordings that ask for it by leaving the other out."""

    wanted: str
    other_spared: str


@dataclass
class Topic:
    """A query, and the documents on each of its two sides; `number` is the record of the source it began with."""

    id: str
    number: int
    query: str
    domain: str
    documents: dict[Side, list[str]] = field(default_factory=dict)

    def add(self, side: Side, document: str) -> None:
        """Add a document to a side, once."""
        found = self.documents.setdefault(side, [])
        if normalized(document) not in map(normalized, found):
            found.append(document)

    def texts(self) -> set[str]:
        """Return the documents of both sides as they are compared."""
        return {normalized(text) for texts in self.documents.values() for text in texts}


@dataclass(frozen=True)
class TwoSided:
    """How the topics of one source become rows."""

    sides: tuple[Side, Side]
    kind: InstructionType
    spared_kind: InstructionType
    source: str
    license: str
    max_rows_per_topic: int

    def rows(self, topics: Sequence[Topic], split: Split) -> Iterator[Found]:
        """Yield rows that ask for each side of each topic that has both, in turn by name and by leaving one out."""
        usable = [topic for topic in topics if all(self._documents(topic))]
        for topic in usable:
            for turn, row in enumerate(self._contrasts(topic)):
                yield self._row(topic, _other(topic, usable, turn), row, turn=turn, split=split)

    def _documents(self, topic: Topic) -> list[list[str]]:
        """Return the documents of each side that are on that side only, in the order of their digests."""
        first, second = (topic.documents.get(side, []) for side in self.sides)
        both = {normalized(text) for text in first} & {normalized(text) for text in second}
        alone = [[text for text in texts if normalized(text) not in both] for texts in (first, second)]
        return [sorted(texts, key=lambda text: digest_number(f"{topic.id}:{text}")) for texts in alone]

    def _contrasts(self, topic: Topic) -> Iterator["_Contrast"]:
        """Pair the documents of both sides; a first round asks for one of each pair, a second for the other."""
        first, second = self._documents(topic)
        n_pairs = max(len(first), len(second))
        pairs = [*zip(islice(cycle(first), n_pairs), islice(cycle(second), n_pairs), strict=True)]
        start = digest_number(f"{topic.id}:start")
        for turn in range(min(2 * n_pairs, self.max_rows_per_topic)):
            place, round_ = turn % n_pairs, turn // n_pairs
            wanted = (start + place + round_) % 2
            pair = pairs[place]
            yield _Contrast(self.sides[wanted], pair[wanted], self.sides[1 - wanted], pair[1 - wanted])

    def _row(self, topic: Topic, other: Topic | None, row: "_Contrast", *, turn: int, split: Split) -> Found:
        key = f"{topic.id}:{turn}"
        is_spared = digest_number(f"spared:{key}") % 2 == 0
        is_opposite_spared = digest_number(f"opposite spared:{key}") % 2 == 0
        return make_row(
            topic.number,
            query_positive=topic.query,
            instruction_positive=choose_wording(
                row.wanted.other_spared if is_spared else row.wanted.wanted, key, split
            ),
            document_positive=row.document,
            instruction_negative=choose_wording(
                row.opposite.other_spared if is_opposite_spared else row.opposite.wanted, f"{key}:-", split
            ),
            hard_negative_document_1=row.opposite_document,
            query_negative=other.query if other else None,
            hard_negative_document_2=self._documents(other)[self.sides.index(row.wanted)][0] if other else None,
            source=self.source,
            instruction_type=self.spared_kind if is_spared else self.kind,
            license=self.license,
            domain=topic.domain,
        )


def _other(topic: Topic, topics: Sequence[Topic], turn: int) -> Topic | None:
    """Choose another topic that shares no document with this one: two questions may be asked of one passage."""
    for attempt in range(_TRIES):
        other = choose(topics, f"other:{topic.id}:{turn}:{attempt}")
        if other.query != topic.query and not other.texts() & topic.texts():
            return other
    return None


class _Contrast(NamedTuple):
    wanted: Side
    document: str
    opposite: Side
    opposite_document: str
