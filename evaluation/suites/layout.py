"""The layout every suite has, in memory and on disk, and the digest every score carries.

A directory holds `suite.json` (name, licence, how it was made), `documents.jsonl` (`id`, `text`), `queries.jsonl`
(`id`, `topic`, `text`, `instruction`, `instruction_type`, `original`, `candidates`), `qrels.tsv` and `qrel_diff.tsv`
(query, document[, relevance]). It is FollowIR's layout in mteb, with several changed instructions per topic allowed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from infembed.artefacts import new_directory
from infembed.config import Config, explain, parse_json
from infembed.errors import AlteredArtefactError, BadArtefactError, MissingArtefactError

SUITE_FILE = "suite.json"


class SuiteQuery(Config):
    """One information need: a query, with or without an instruction.

    A query with `original` set is the changed version of that query. `candidates` fixes the documents to rank (a
    reranking task); None ranks the whole corpus.
    """

    id: str
    topic: str
    text: str
    instruction: str | None = None
    instruction_type: str | None = None
    original: str | None = None
    candidates: tuple[str, ...] | None = None


class SuiteInfo(Config):
    """What a suite is and where it comes from."""

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
            "documents": sorted(self.documents.items()),
            "queries": sorted(query.model_dump_json() for query in self.queries),
            "qrels": sorted((query, sorted(found.items())) for query, found in self.qrels.items()),
            "qrel_diff": sorted((query, sorted(documents)) for query, documents in self.qrel_diff.items()),
        }
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

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


def save_suite(suite: Suite, directory: Path) -> None:
    """Write a suite to a new directory."""
    with new_directory(directory) as out:
        info = suite.info.model_dump(mode="json") | {"digest": suite.digest}
        (out / SUITE_FILE).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
        documents = ({"id": identifier, "text": text} for identifier, text in suite.documents.items())
        _write_lines(out / "documents.jsonl", (json.dumps(row, ensure_ascii=False) for row in documents))
        _write_lines(out / "queries.jsonl", (query.model_dump_json(exclude_none=True) for query in suite.queries))
        rows = (
            f"{query}\t{document}\t{grade}" for query, found in suite.qrels.items() for document, grade in found.items()
        )
        _write_lines(out / "qrels.tsv", rows)
        gone = (f"{query}\t{document}" for query, found in suite.qrel_diff.items() for document in found)
        _write_lines(out / "qrel_diff.tsv", gone)


def load_suite(directory: Path) -> Suite:
    """Read a suite; refuses one whose contents do not have the digest it records."""
    if not (directory / SUITE_FILE).is_file():
        raise MissingArtefactError(f"no suite at {directory} (no {SUITE_FILE} there)")
    recorded = parse_json(_RecordedInfo, directory / SUITE_FILE)
    documents = {}
    for number, row in _json_lines(directory / "documents.jsonl"):
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not isinstance(row.get("text"), str):
            raise AlteredArtefactError(f"{directory}/documents.jsonl line {number} has no string `id` and `text`")
        documents[row["id"]] = row["text"]
    qrels: dict[str, dict[str, int]] = {}
    for query, document, grade in _fields(directory / "qrels.tsv", 3):
        qrels.setdefault(query, {})[document] = int(grade)
    diff: dict[str, list[str]] = {}
    for query, document in _fields(directory / "qrel_diff.tsv", 2):
        diff.setdefault(query, []).append(document)
    suite = Suite(
        info=SuiteInfo(**recorded.model_dump(exclude={"digest"})),
        documents=documents,
        queries=tuple(_queries(directory / "queries.jsonl")),
        qrels=qrels,
        qrel_diff={query: tuple(found) for query, found in diff.items()},
    )
    if suite.digest != recorded.digest:
        raise AlteredArtefactError(f"{directory} has digest {suite.digest[:12]}, it records {recorded.digest[:12]}")
    return suite


class _RecordedInfo(SuiteInfo):
    digest: str


def _queries(path: Path) -> Iterable[SuiteQuery]:
    for number, row in _json_lines(path):
        try:
            yield SuiteQuery.model_validate(row)
        except ValidationError as error:
            raise AlteredArtefactError(f"{path} line {number}: {explain(error)}") from error


def _json_lines(path: Path) -> Iterable[tuple[int, object]]:
    if not path.is_file():
        raise MissingArtefactError(f"the suite has no {path}")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise AlteredArtefactError(f"{path} line {number} is not valid JSON: {error}") from error


def _fields(path: Path, n: int) -> Iterable[list[str]]:
    if not path.is_file():
        raise MissingArtefactError(f"the suite has no {path}")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) != n:
            raise AlteredArtefactError(f"{path} line {number} has {len(fields)} fields, expected {n}")
        yield fields


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _check(suite: Suite) -> None:
    name = suite.info.name
    known = {query.id for query in suite.queries}
    if len(known) != len(suite.queries):
        raise BadArtefactError(f"suite {name} has two queries with one id")
    if not known or not suite.documents:
        raise BadArtefactError(f"suite {name} has {len(known)} queries and {len(suite.documents)} documents")
    for query in suite.queries:
        _check_query(suite, query, known)
    for what, judged in (("qrels", suite.qrels), ("qrel_diff", suite.qrel_diff)):
        for query_id, found in judged.items():
            if query_id not in known:
                raise BadArtefactError(f"suite {name}: {what} names query {query_id!r}, which is not there")
            unknown = [document for document in found if document not in suite.documents]
            if unknown:
                raise BadArtefactError(f"suite {name}: {what} of {query_id!r} names document {unknown[0]!r}, not there")


def _check_query(suite: Suite, query: SuiteQuery, known: set[str]) -> None:
    where = f"suite {suite.info.name}: query {query.id!r}"
    if query.id not in suite.qrels:
        raise BadArtefactError(f"{where} has no judgements")
    if query.original is not None and query.original not in known:
        raise BadArtefactError(f"{where} changes {query.original!r}, which is not there")
    if query.original is not None and not suite.qrel_diff.get(query.id):
        raise BadArtefactError(f"{where} is changed but withdraws no document; p-MRR needs one")
