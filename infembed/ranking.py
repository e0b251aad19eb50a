"""The words of ranking, shared by index, evaluation and service."""

from typing import NamedTuple


class ScoredDocument(NamedTuple):
    """A document as one query ranked it; higher scores are better."""

    document_id: str
    score: float


class Qrel(NamedTuple):
    """A relevance judgement: `relevance` 0 means judged and not relevant."""

    query_id: str
    document_id: str
    relevance: int


Run = dict[str, dict[str, float]]
"""Scores by query id, then document id."""
