"""Which rows of a recipe are kept: none that leak, none twice, no document too often, and a cap that is no bias."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from enum import StrEnum

from evaluation.suites.draft import digest_number
from training.corpus.rows import TEXT_COLUMNS, Row
from training.corpus.texts import normalized

MAX_USES = 12
"""In how many rows of a corpus one document may stand."""


class Dropped(StrEnum):
    """Why a sound row is not in the corpus."""

    HELD_OUT = "a document of it also stands in a held-out split"
    DUPLICATE = "another row has the same texts"
    OVERUSED = f"a document of it already stands in {MAX_USES} rows"
    CAPPED = "more rows than --max-rows"


class Selection:
    """Selects rows, one recipe after the other; remembers what earlier recipes used."""

    def __init__(self, held_out: AbstractSet[str], *, max_rows: int | None = None) -> None:
        self._held_out = held_out
        self._max_rows = max_rows
        self._seen: set[int] = set()
        self._uses: Counter[str] = Counter()

    def select(self, rows: Iterable[Row], dropped: Counter[Dropped]) -> Iterator[Row]:
        """Yield the rows of one recipe that are kept, in the order of their digests; count the others."""
        n_kept = 0
        for digest, row in sorted(((_digest(row), row) for row in rows), key=lambda found: found[0]):
            documents = {normalized(text) for text in documents_of(row)}
            if documents & self._held_out:
                dropped[Dropped.HELD_OUT] += 1
            elif digest in self._seen:
                dropped[Dropped.DUPLICATE] += 1
            elif any(self._uses[document] >= MAX_USES for document in documents):
                dropped[Dropped.OVERUSED] += 1
            elif n_kept == self._max_rows:
                dropped[Dropped.CAPPED] += 1
            else:
                self._seen.add(digest)
                self._uses.update(documents)
                n_kept += 1
                yield row


def documents_of(row: Row) -> list[str]:
    """Return the documents of a row."""
    found = (row.document_positive, row.hard_negative_document_1, row.hard_negative_document_2)
    return [text for text in found if text is not None]


def _digest(row: Row) -> int:
    return digest_number(json.dumps([normalized(getattr(row, name) or "") for name in TEXT_COLUMNS]))
