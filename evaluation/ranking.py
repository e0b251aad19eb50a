"""Exact rankings of many queries at once, ties broken by document id descending as trec_eval and mteb do."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from infembed.vectors import FloatArray, IntArray

DEPTH = 1000
"""Documents kept of a run, as in FollowIR; a reranking suite keeps all its candidates."""


class DocumentColumns:
    """The documents of a suite as columns of a score matrix, ids descending: a stable sort breaks ties as wanted."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.order = sorted(range(len(ids)), key=ids.__getitem__, reverse=True)
        """Where each column's document stands in `ids`."""
        self._names: npt.NDArray[np.object_] = np.array([ids[place] for place in self.order], dtype=object)
        self._column = {identifier: column for column, identifier in enumerate(self._names)}

    def of(self, ids: Sequence[str]) -> IntArray:
        """Return the columns of documents, ascending, each once."""
        return np.array(sorted({self._column[identifier] for identifier in ids}), dtype=np.int64)

    def column(self, identifier: str) -> int:
        """Return one document's column."""
        return self._column[identifier]

    def names(self, columns: IntArray) -> list[str]:
        """Return the ids of the documents of columns."""
        found: list[str] = self._names[columns].tolist()
        return found


class RankedRun(Mapping[str, float]):
    """One query's run, `{document id: score}`, best first; knows ranks without sorting again."""

    def __init__(self, documents: DocumentColumns, columns: IntArray, scores: FloatArray) -> None:
        self._documents = documents
        self._columns = columns
        self._scores = scores

    def ranks(self, documents: Sequence[str]) -> list[int]:
        """Rank documents from 1; one that is not in the run has the rank behind its last."""
        wanted = np.array([self._documents.column(document) for document in documents], dtype=np.int64)
        absent = np.ones((len(wanted), 1), dtype=np.bool_)
        found = np.concatenate([self._columns[None, :] == wanted[:, None], absent], axis=1)
        ranks: list[int] = (found.argmax(axis=1) + 1).tolist()
        return ranks

    def top(self, k: int) -> dict[str, float]:
        """Return the k best documents with their scores."""
        names = self._documents.names(self._columns[:k])
        return dict(zip(names, self._scores[:k].tolist(), strict=True))

    @property
    def n_tied(self) -> int:
        """Documents whose score is that of the document before them."""
        return int(np.count_nonzero(self._scores[1:] == self._scores[:-1]))

    @cached_property
    def _by_document(self) -> dict[str, float]:
        return self.top(len(self._columns))

    def __getitem__(self, document: str) -> float:
        return self._by_document[document]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_document)

    def __len__(self) -> int:
        return len(self._columns)


def rank_columns(
    documents: DocumentColumns, columns: IntArray, scores: FloatArray, *, depth: int | None = None
) -> RankedRun:
    """Rank the documents of ascending `columns` by their scores."""
    if depth is not None and len(scores) > depth:
        least = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        kept = np.flatnonzero(scores >= least)
        columns, scores = columns[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:depth]
    return RankedRun(documents, columns[order], scores[order])
