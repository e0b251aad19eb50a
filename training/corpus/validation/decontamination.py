"""Take out of a corpus what evaluation suites hold: their topics, their queries, their documents.

A row goes when

- it belongs to a topic that was named by id (`source_id`), or carries the text of such a topic;
- one of its queries is a suite's query, word for word, or contains it where that has `QUERY_WORDS` words or more;
- a share of the runs of `N_GRAM` words in one of its documents also stands in a suite's documents. Thirteen words are
  the usual measure (GPT-3, arXiv 2005.14165, appendix C): shorter runs are shared by texts on the same subject.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from evaluation.suites.layout import Suite
from training.corpus.rows import Row
from training.corpus.texts import n_grams, words

N_GRAM = 13
QUERY_WORDS = 4


class Overlap(StrEnum):
    """Why a row was taken out."""

    TOPIC = "topic"
    QUERY = "query"
    DOCUMENT = "document"


class Contaminated(NamedTuple):
    """What a row shares, and with what."""

    overlap: Overlap
    detail: str


@dataclass
class Protected:
    """What training must not have seen, as hashes of word runs; add suites and topics, then ask row by row."""

    share: float = 0.2
    """A document goes when more than this share of its word runs is protected."""
    topics: dict[str, str] = field(default_factory=dict)
    _queries: dict[tuple[str, ...], str] = field(default_factory=dict)
    _query_lengths: set[int] = field(default_factory=set)
    _documents: dict[int, str] = field(default_factory=dict)

    def add_suite(self, suite: Suite) -> None:
        """Protect a suite's queries, instructions and documents."""
        name = suite.info.name
        for query in suite.queries:
            self._add_query(query.text, f"{name} {query.id}")
        for identifier, document in suite.documents.items():
            for gram in n_grams(words(document), N_GRAM):
                self._documents.setdefault(hash(gram), f"{name} {identifier}")

    def add_topic(self, identifier: str, *, title: str = "", description: str = "") -> None:
        """Protect a topic by its id, and by its texts where they are known."""
        self.topics[identifier.casefold()] = identifier
        for text in (title, description):
            self._add_query(text, f"topic {identifier}")

    def find(self, row: Row) -> Contaminated | None:
        """Return why a row must go; None where nothing protected is in it."""
        if row.source_id is not None and row.source_id.casefold() in self.topics:
            return Contaminated(Overlap.TOPIC, row.source_id)
        for pair in row.pairs():
            if found := self._query(words(pair.query)):
                return Contaminated(Overlap.QUERY, found)
        for document in {pair.document for pair in row.pairs()}:
            if found := self._document(words(document)):
                return Contaminated(Overlap.DOCUMENT, found)
        return None

    def _add_query(self, text: str, where: str) -> None:
        if asked := words(text):
            self._queries.setdefault(asked, where)
            if len(asked) >= QUERY_WORDS:
                self._query_lengths.add(len(asked))

    def _query(self, asked: tuple[str, ...]) -> str | None:
        if asked in self._queries:
            return self._queries[asked]
        for length in sorted(length for length in self._query_lengths if length < len(asked)):
            for gram in n_grams(asked, length):
                if gram in self._queries:
                    return self._queries[gram]
        return None

    def _document(self, told: tuple[str, ...]) -> str | None:
        grams = list(n_grams(told, N_GRAM))
        shared = [self._documents[key] for gram in grams if (key := hash(gram)) in self._documents]
        return shared[0] if shared and len(shared) > self.share * len(grams) else None


def decontaminate_rows(rows: Iterable[Row], protected: Protected, *, removed: dict[int, Contaminated]) -> Iterator[Row]:
    """Yield the rows that share nothing; the numbers of the others, from 1, go into `removed` with the reason."""
    for number, row in enumerate(rows, start=1):
        if (found := protected.find(row)) is None:
            yield row
        else:
            removed[number] = found


def count_overlaps(removed: Mapping[int, Contaminated]) -> dict[Overlap, int]:
    """Count the removed rows by reason."""
    return {overlap: sum(found.overlap is overlap for found in removed.values()) for overlap in Overlap}
