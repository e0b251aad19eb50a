"""The layout every suite has, and the digest every score carries.

It is FollowIR's layout in mteb (corpus, queries, qrels, `qrel_diff`), with several changed instructions per topic
allowed and the type of each named. `storage.py` keeps it in a directory.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from infembed.config import Config
from infembed.errors import BadArtefactError


class SuiteQuery(Config):
    """One information need: a query, with or without an instruction.

    A query with `original` set is the changed version of that query. `candidates` fixes the documents to rank (a
    reranking task); None ranks the whole corpus but the `excluded` documents.
    """

    id: str
    topic: str
    text: str
    instruction: str | None = None
    instruction_type: str | None = None
    original: str | None = None
    candidates: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()


class SuiteInfo(Config):
    """What a suite is and where it comes from; `split` is the part of its source, as the source calls it."""

    name: str
    licence: str
    source: str
    split: str = "test"
    is_paired: bool = False
    """Whether a topic's queries only count together (NevIR's paired accuracy)."""


@dataclass(frozen=True)
class Suite:
    """A suite, checked: every id that is named exists, every changed query has documents that changed."""

    info: SuiteInfo
    documents: Mapping[str, str]
    queries: tuple[SuiteQuery, ...]
    qrels: Mapping[str, Mapping[str, int]]
    qrel_diff: Mapping[str, tuple[str, ...]]
    """By changed query: documents relevant under the original instruction and no longer under this one."""

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def by_id(self) -> Mapping[str, SuiteQuery]:
        return {query.id: query for query in self.queries}

    @property
    def changed_queries(self) -> tuple[SuiteQuery, ...]:
        return tuple(query for query in self.queries if query.original is not None)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything a score depends on, whatever the order of lines on disk."""
        content = {
            "is_paired": self.info.is_paired,
            "documents": sorted(self.documents.items()),
            "queries": sorted(query.model_dump_json() for query in self.queries),
            "qrels": sorted((query, sorted(found.items())) for query, found in self.qrels.items()),
            "qrel_diff": sorted((query, sorted(documents)) for query, documents in self.qrel_diff.items()),
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def preserved(self, changed: SuiteQuery) -> list[str]:
        """Documents relevant under a changed query and under its original: their ranks should not suffer."""
        assert changed.original is not None, "only changed queries have an original"
        before, after = self.qrels[changed.original], self.qrels[changed.id]
        return sorted(document for document, grade in after.items() if grade > 0 and before.get(document, 0) > 0)


def derive_qrel_diff(
    queries: Iterable[SuiteQuery], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, tuple[str, ...]]:
    """Compute the documents whose relevance each changed query withdraws."""
    diff = {}
    for query in queries:
        if query.original is not None:
            after = qrels.get(query.id, {})
            before = qrels.get(query.original, {})
            gone = sorted(document for document, grade in before.items() if grade > 0 and after.get(document, 0) <= 0)
            diff[query.id] = tuple(gone)
    return diff


def _check(suite: Suite) -> None:
    name = suite.info.name
    if not suite.queries or not suite.documents:
        raise BadArtefactError(f"suite {name} has {len(suite.queries)} queries and {len(suite.documents)} documents")
    if len(suite.by_id) != len(suite.queries):
        raise BadArtefactError(f"suite {name} has two queries with one id")
    for identifier in (*suite.by_id, *suite.documents):
        if not identifier or any(character in identifier for character in "\t\n\r"):
            raise BadArtefactError(f"suite {name}: the id {identifier!r} is empty or holds a tab or a line break")
    for query in suite.queries:
        _check_query(suite, query)
        _check_change(suite, query)
    for what, judged in (("qrels", suite.qrels), ("qrel_diff", suite.qrel_diff)):
        for query_id, documents in judged.items():
            if query_id not in suite.by_id:
                raise BadArtefactError(f"suite {name}: {what} names query {query_id!r}, which is not there")
            _require_documents(suite, documents, f"suite {name}: {what} of {query_id!r}")


def _check_query(suite: Suite, query: SuiteQuery) -> None:
    where = f"suite {suite.info.name}: query {query.id!r}"
    if not query.text.strip():
        raise BadArtefactError(f"{where} has no text")
    if not suite.qrels.get(query.id):
        raise BadArtefactError(f"{where} has no judgements")
    _require_documents(suite, query.excluded, f"the excluded of {where}")
    if query.candidates is None:
        return
    if query.excluded:
        raise BadArtefactError(f"{where} has both candidates and excluded documents; give one of them")
    if not query.candidates or len(set(query.candidates)) != len(query.candidates):
        raise BadArtefactError(
            f"{where} has {len(query.candidates)} candidates, {len(set(query.candidates))} different"
        )
    _require_documents(suite, query.candidates, f"the candidates of {where}")


def _check_change(suite: Suite, query: SuiteQuery) -> None:
    where = f"suite {suite.info.name}: query {query.id!r}"
    withdrawn = suite.qrel_diff.get(query.id, ())
    if query.original is None:
        if withdrawn:
            raise BadArtefactError(f"{where} changes no other query but withdraws {len(withdrawn)} documents")
        return
    original = suite.by_id.get(query.original)
    if original is None or original is query or original.topic != query.topic:
        found = "not there" if original is None else "itself" if original is query else f"of topic {original.topic!r}"
        raise BadArtefactError(f"{where} changes {query.original!r}, which is {found}")
    if not withdrawn or len(set(withdrawn)) != len(withdrawn):
        raise BadArtefactError(
            f"{where} is changed and withdraws {len(withdrawn)} documents, {len(set(withdrawn))} different; "
            "p-MRR needs at least one, each once"
        )


def _require_documents(suite: Suite, identifiers: Iterable[str], where: str) -> None:
    unknown = [identifier for identifier in identifiers if identifier not in suite.documents]
    if unknown:
        raise BadArtefactError(f"{where} name document {unknown[0]!r}, which is not there")
