"""InstructIR's queries with their MS MARCO documents, and the readers who ask them."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from evaluation.suites.sources import read_text
from evaluation.suites.splits import Split, split_of
from training.corpus.files import Quarantined
from training.corpus.recipes.records import Record, read_records

SOURCE = "instructir"
FILES = ("instructions.jsonl.gz", "msmarco_corpus.jsonl.gz", "msmarco_queries.jsonl.gz", "msmarco_qrels.tsv")
LICENSE = "MIT; documents under the MS MARCO terms (non-commercial research)"
ORIGIN = "https://github.com/kaistAI/InstructIR"
_INSTRUCTIONS, _CORPUS, _QUERIES, _QRELS = FILES


class _Text(Record):
    id: str = Field(alias="_id")
    text: str


@dataclass(frozen=True)
class AskedQuery:
    """A query with its document, and the instructions of readers who ask it, if any do."""

    number: int
    text: str
    document: str
    readers: tuple[str, ...]


def read_queries(directory: Path, split: Split, aside: list[Quarantined]) -> list[AskedQuery]:
    """Return the queries of one split; of queries with one document the first only."""
    documents = {found.id: found.text for found in read_records(directory, _CORPUS, _Text, aside)}
    readers: dict[str, list[str]] = defaultdict(list)
    for instruction in read_records(directory, _INSTRUCTIONS, _Text, aside):
        readers[instruction.id.rpartition("_")[0]].append(instruction.text)
    document_of = dict(_judged(directory))
    found: dict[str, AskedQuery] = {}
    for query in read_records(directory, _QUERIES, _Text, aside):
        document = _mended(documents.get(document_of.get(query.id, ""), ""))
        if document:
            found.setdefault(document, AskedQuery(query.place, query.text, document, tuple(readers[query.id])))
    return [query for query in found.values() if split_of(SOURCE, query.text.casefold()) is split]


def _judged(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield query and document of each line after the header."""
    for line in read_text(directory, _QRELS).splitlines()[1:]:
        cells = line.split("\t")
        if len(cells) >= 2:
            yield cells[0], cells[1]


def _mended(text: str) -> str:
    """Undo UTF-8 that was read as Latin-1, as in many MS MARCO texts, and spare white space."""
    try:
        mended = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        mended = text
    return " ".join(mended.split())
