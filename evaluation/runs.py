"""Rankings of a suite by a model: every query as written, without its instruction, and in the shuffle control."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evaluation.ranking import DEPTH, DocumentColumns, RankedRun, rank_columns
from evaluation.suites.layout import Suite, SuiteQuery
from infembed.encoder import Encoder
from infembed.errors import BadInputError
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray, IntArray, require_finite

Runs = dict[str, RankedRun]

_SHUFFLE_SEED = 11
_CHUNK_QUERIES = 256
_MOST_TIED = 0.5


@dataclass(frozen=True)
class SuiteRuns:
    """Rankings of every query as written and without its instruction, and of the shuffle control.

    The control's two are keyed by changed query: its text under the original and the changed instruction of another
    topic, whose p-MRR on this topic's documents should be 0.
    """

    instructed: Runs = field(default_factory=dict)
    plain: Runs = field(default_factory=dict)
    shuffled_original: Runs = field(default_factory=dict)
    shuffled: Runs = field(default_factory=dict)


class Donor(NamedTuple):
    """Another topic's pair of instructions, which a changed query gets in the shuffle control."""

    original: str | None
    changed: str | None


class _Ask(NamedTuple):
    """One ranking to make, and where it goes."""

    runs: Runs
    query: SuiteQuery
    input: TextInput


def make_runs(suite: Suite, encoder: Encoder) -> SuiteRuns:
    """Encode documents and queries and rank exactly; quality and index recall are measured apart."""
    columns = DocumentColumns(list(suite.documents))
    documents = require_finite(encoder.encode_documents(list(suite.documents.values())))
    documents = documents[columns.order]
    inputs = query_inputs(suite)
    vectors = require_finite(encoder.encode_queries(inputs))
    runs = SuiteRuns()
    asks: dict[TextInput, list[_Ask]] = {item: [] for item in inputs}
    for ask in _asks(suite, runs):
        asks[ask.input].append(ask)
    for start in range(0, len(inputs), _CHUNK_QUERIES):
        scores = vectors[start : start + _CHUNK_QUERIES] @ documents.T
        for item, row in zip(inputs[start : start + _CHUNK_QUERIES], scores, strict=True):
            _rank(columns, row, asks[item])
    return runs


def query_inputs(suite: Suite) -> list[TextInput]:
    """List what the model encodes besides the documents, each once."""
    return list(dict.fromkeys(ask.input for ask in _asks(suite, SuiteRuns())))


def donors(suite: Suite) -> dict[str, Donor]:
    """Choose for every changed query the instructions of another topic, always the same ones.

    There are none where all topics share one changed instruction: exchanging it would change nothing.
    """
    changed = suite.changed_queries
    if len({query.instruction for query in changed}) < 2:
        return {}
    rng = random.Random(_SHUFFLE_SEED)  # noqa: S311 - a fixed shuffle, not a secret
    found = {}
    for query in changed:
        start = rng.randrange(len(changed))
        others = (changed[(start + step) % len(changed)] for step in range(len(changed)))
        other = next((other for other in others if other.topic != query.topic), None)
        if other is not None and other.original is not None:
            found[query.id] = Donor(suite.by_id[other.original].instruction, other.instruction)
    return found


def require_whole(suite: Suite, runs: SuiteRuns) -> None:
    """Refuse runs that are missing, were cut short, or are mostly ties."""
    _require_complete(suite, runs)
    _require_distinct(suite, runs.instructed)


def _asks(suite: Suite, runs: SuiteRuns) -> Iterator[_Ask]:
    given = donors(suite)
    for query in suite.queries:
        yield _ask(runs.instructed, query, query.instruction)
        yield _ask(runs.plain, query, None)
        if query.id in given:
            yield _ask(runs.shuffled_original, query, given[query.id].original)
            yield _ask(runs.shuffled, query, given[query.id].changed)


def _ask(runs: Runs, query: SuiteQuery, instruction: str | None) -> _Ask:
    return _Ask(runs, query, TextInput(query.text, InputType.QUERY, instruction))


def _rank(columns: DocumentColumns, scores: FloatArray, asks: Sequence[_Ask]) -> None:
    """Rank for all that ask for one input; those with the same documents to rank share a run."""
    made: dict[tuple[tuple[str, ...] | None, tuple[str, ...]], RankedRun] = {}
    for runs, query, _ in asks:
        key = (query.candidates, query.excluded)
        if key not in made:
            found = _columns_of(columns, query, len(scores))
            depth = DEPTH if query.candidates is None else None
            made[key] = rank_columns(columns, found, scores[found], depth=depth)
        runs[query.id] = made[key]


def _columns_of(columns: DocumentColumns, query: SuiteQuery, n_documents: int) -> IntArray:
    if query.candidates is not None:
        return columns.of(query.candidates)
    found = np.arange(n_documents)
    return np.delete(found, columns.of(query.excluded)) if query.excluded else found


def _require_complete(suite: Suite, runs: SuiteRuns) -> None:
    """Refuse runs that were cut short: their length alone moves ranks, and so p-MRR."""
    given = donors(suite)
    wanted = {query.id: _length(suite, query) for query in suite.queries}
    controlled = {query: length for query, length in wanted.items() if query in given}
    kinds = [
        ("as written", runs.instructed, wanted),
        ("without instruction", runs.plain, wanted),
        ("with another topic's original instruction", runs.shuffled_original, controlled),
        ("with another topic's changed instruction", runs.shuffled, controlled),
    ]
    for what, found, lengths in kinds:
        for query, length in lengths.items():
            if query not in found:
                raise BadInputError(f"suite {suite.info.name}: query {query!r} {what} has no run; score every query")
            if len(found[query]) != length:
                raise BadInputError(
                    f"suite {suite.info.name}: the run of query {query!r} {what} has {len(found[query])} documents, "
                    f"expected {length}; a run that was cut short moves ranks by its length alone, score it again"
                )


def _length(suite: Suite, query: SuiteQuery) -> int:
    if query.candidates is not None:
        return len(set(query.candidates))
    return min(DEPTH, len(suite.documents) - len(set(query.excluded)))


def _require_distinct(suite: Suite, runs: Runs) -> None:
    """Refuse a model that gives different documents the same vector: their order is that of their ids."""
    n_tied = sum(run.n_tied for run in runs.values())
    n_pairs = sum(len(run) - 1 for run in runs.values())
    if n_tied > _MOST_TIED * n_pairs:
        raise BadInputError(
            f"suite {suite.info.name}: {n_tied / n_pairs:.0%} of the documents have the same score as another for the "
            "same query, so most of the ranking is chance; the model gives different documents the same vector"
        )
