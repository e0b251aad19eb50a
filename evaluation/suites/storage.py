"""A suite in a directory.

It holds `suite.json` (name, licence, source, digest), `documents.jsonl` (`id`, `text`), `queries.jsonl` (the fields of
`SuiteQuery`), `qrels.tsv` (query, document, relevance) and `qrel_diff.tsv` (query, document).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import Field, ValidationError

from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from infembed.artefacts import new_directory
from infembed.config import Config, explain, parse_json
from infembed.errors import AlteredArtefactError, MissingArtefactError

SUITE_FILE = "suite.json"
_DOCUMENTS, _QUERIES, _QRELS, _QREL_DIFF = "documents.jsonl", "queries.jsonl", "qrels.tsv", "qrel_diff.tsv"


_Row = TypeVar("_Row", bound=Config)


class _RecordedInfo(SuiteInfo):
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Document(Config):
    id: str
    text: str


class _Line(NamedTuple):
    where: str
    fields: list[str]


def save_suite(suite: Suite, directory: Path) -> None:
    """Write a suite to a new directory."""
    with new_directory(directory) as out:
        info = _RecordedInfo(**suite.info.model_dump(), digest=suite.digest)
        _write_lines(out / SUITE_FILE, [info.model_dump_json(indent=2)])
        documents = (_Document(id=identifier, text=text) for identifier, text in suite.documents.items())
        _write_lines(out / _DOCUMENTS, (document.model_dump_json() for document in documents))
        _write_lines(out / _QUERIES, (query.model_dump_json(exclude_defaults=True) for query in suite.queries))
        judged = ((query, found.items()) for query, found in suite.qrels.items())
        _write_lines(out / _QRELS, (f"{query}\t{doc}\t{grade}" for query, found in judged for doc, grade in found))
        gone = (f"{query}\t{document}" for query, found in suite.qrel_diff.items() for document in found)
        _write_lines(out / _QREL_DIFF, gone)


def load_suite(directory: Path) -> Suite:
    """Read a suite; refuses one whose contents do not have the digest it records."""
    if not (directory / SUITE_FILE).is_file():
        raise MissingArtefactError(f"no suite at {directory} (no {SUITE_FILE} there)")
    recorded = parse_json(_RecordedInfo, directory / SUITE_FILE)
    suite = Suite(
        info=SuiteInfo(**recorded.model_dump(exclude={"digest"})),
        documents=_documents(directory),
        queries=tuple(query for _, query in _rows(directory / _QUERIES, SuiteQuery)),
        qrels=_qrels(directory),
        qrel_diff=_qrel_diff(directory),
    )
    if suite.digest != recorded.digest:
        raise AlteredArtefactError(
            f"{directory} has the digest {suite.digest[:12]}, its {SUITE_FILE} records {recorded.digest[:12]}; "
            "write the suite again or get the original files"
        )
    return suite


def _documents(directory: Path) -> dict[str, str]:
    documents: dict[str, str] = {}
    for where, row in _rows(directory / _DOCUMENTS, _Document):
        if row.id in documents:
            raise AlteredArtefactError(f"{where}: document {row.id!r} is there twice")
        documents[row.id] = row.text
    return documents


def _qrels(directory: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for where, (query, document, grade) in _fields(directory / _QRELS, 3):
        found = qrels.setdefault(query, {})
        if document in found:
            raise AlteredArtefactError(f"{where}: document {document!r} is judged twice for query {query!r}")
        try:
            found[document] = int(grade)
        except ValueError as error:
            raise AlteredArtefactError(f"{where}: the relevance is {grade!r}, expected a whole number") from error
    return qrels


def _qrel_diff(directory: Path) -> dict[str, tuple[str, ...]]:
    diff: dict[str, list[str]] = {}
    for _, (query, document) in _fields(directory / _QREL_DIFF, 2):
        diff.setdefault(query, []).append(document)
    return {query: tuple(found) for query, found in diff.items()}


def _rows(path: Path, kind: type[_Row]) -> Iterator[tuple[str, _Row]]:
    for where, line in _lines(path):
        try:
            yield where, kind.model_validate_json(line)
        except ValidationError as error:
            raise AlteredArtefactError(f"{where}: {explain(error)}") from error


def _fields(path: Path, n: int) -> Iterator[_Line]:
    for where, line in _lines(path):
        fields = line.split("\t")
        if len(fields) != n:
            raise AlteredArtefactError(f"{where} has {len(fields)} fields between tabs, expected {n}")
        yield _Line(where, fields)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Read lines with where they stand; only line feeds end a line, U+2028 and the like may stand in a text."""
    if not path.is_file():
        raise MissingArtefactError(f"the suite has no {path}")
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                yield f"{path} line {number}", line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise AlteredArtefactError(f"{path} is not UTF-8: {error}; get the original file") from error


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
