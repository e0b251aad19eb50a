"""NPL, Cranfield and CISI: plain retrieval, where a model that follows instructions must not have become worse.

They have no splits; nothing is trained or tuned on them, so every query is test.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from evaluation.suites.draft import SuiteDraft
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.sources import read_smart, read_text
from infembed.errors import AlteredArtefactError

_NPL_RECORD = re.compile(r"^\s*(\d+)\s*\n(.*?)^\s*/\s*$", re.MULTILINE | re.DOTALL)


def build_npl(directory: Path) -> Suite:
    """NPL: short abstracts on electronics, in lower case; its queries are in capitals and are brought to that case."""
    relevant = {query: text.split() for query, text in _npl(directory, "rlv-ass")}
    queries = ((number, text.lower()) for number, text in _npl(directory, "query-text"))
    return _plain("npl", _npl(directory, "doc-text"), queries, relevant)


def build_cranfield(directory: Path) -> Suite:
    """Cranfield: aerodynamics. Judgements number the queries by their position in the file, not by their `.I`.

    Every listed document is relevant: sources disagree on which end of the grades 1 to 4 is best, and -1 marks the
    paper a question was asked from, which answers it.
    """
    documents = ((row["I"], _abstract(row)) for row in read_smart(read_text(directory, "cran.all.1400")))
    queries = enumerate(read_smart(read_text(directory, "cran.qry")), start=1)
    numbered = ((str(number), row.get("W", "")) for number, row in queries)
    return _plain("cranfield", documents, numbered, _judged(directory, "cranqrel"))


def build_cisi(directory: Path) -> Suite:
    """CISI: library science. Later queries are whole papers, with a title; 76 of all are judged."""
    documents = ((row["I"], _abstract(row)) for row in read_smart(read_text(directory, "CISI.ALL")))
    queries = ((row["I"], _abstract(row)) for row in read_smart(read_text(directory, "CISI.QRY")))
    return _plain("cisi", documents, queries, _judged(directory, "CISI.REL"))


def _plain(
    name: str,
    documents: Iterable[tuple[str, str]],
    queries: Iterable[tuple[str, str]],
    relevant: Mapping[str, list[str]],
) -> Suite:
    """Make a suite without instructions of the queries that have judgements."""
    draft = SuiteDraft()
    known = {identifier: draft.document(identifier, text) for identifier, text in documents if text.strip()}
    for identifier, text in queries:
        found = [known[document] for document in relevant.get(identifier, ()) if document in known]
        if found and text.strip():
            draft.query(SuiteQuery(id=identifier, topic=identifier, text=text), found)
    return draft.finish(SuiteInfo(name=name, licence="classic collection, freely distributed", source=name))


def _abstract(row: Mapping[str, str]) -> str:
    """Join title and text; Cranfield's texts begin with their title already."""
    title, text = (" ".join(row.get(name, "").split()) for name in ("T", "W"))
    return text if text.startswith(title) else f"{title} {text}"


def _judged(directory: Path, name: str) -> dict[str, list[str]]:
    relevant: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(directory, name).splitlines(), start=1):
        fields = line.split()
        if len(fields) < 2:
            raise AlteredArtefactError(f"{directory / name} line {number} is {line!r}, expected a query and a document")
        relevant.setdefault(fields[0], []).append(fields[1])
    return relevant


def _npl(directory: Path, name: str) -> list[tuple[str, str]]:
    return _NPL_RECORD.findall(read_text(directory, name))
