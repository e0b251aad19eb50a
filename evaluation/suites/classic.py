"""NPL, Cranfield and CISI: plain retrieval, where a model that follows instructions must not have become worse."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from evaluation.suites.draft import SuiteDraft
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.sources import read_smart, read_text

_NPL_RECORD = re.compile(r"^\s*(\d+)\s*\n(.*?)^\s*/\s*$", re.MULTILINE | re.DOTALL)


def build_npl(directory: Path) -> Suite:
    """NPL: short abstracts on electronics."""
    relevant = {query: text.split() for query, text in _npl(directory, "rlv-ass")}
    return _plain("npl", _npl(directory, "doc-text"), _npl(directory, "query-text", lower=True), relevant)


def build_cranfield(directory: Path) -> Suite:
    """Cranfield: aerodynamics. Judgements number the queries by their position in the file."""
    documents = (
        (row["I"], f"{row.get('T', '')} {row.get('W', '')}") for row in read_smart(_read(directory, "cran.all.1400"))
    )
    queries = enumerate(read_smart(_read(directory, "cran.qry")), start=1)
    relevant: dict[str, list[str]] = {}
    for line in _read(directory, "cranqrel").splitlines():
        query, document, *_ = line.split()
        relevant.setdefault(query, []).append(document)
    return _plain("cranfield", documents, ((str(number), row["W"]) for number, row in queries), relevant)


def build_cisi(directory: Path) -> Suite:
    """CISI: library science."""
    documents = (
        (row["I"], f"{row.get('T', '')} {row.get('W', '')}") for row in read_smart(_read(directory, "CISI.ALL"))
    )
    queries = ((row["I"], row.get("W", "")) for row in read_smart(_read(directory, "CISI.QRY")))
    relevant: dict[str, list[str]] = {}
    for line in _read(directory, "CISI.REL").splitlines():
        query, document, *_ = line.split()
        relevant.setdefault(query, []).append(document)
    return _plain("cisi", documents, queries, relevant)


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
            draft.query(SuiteQuery(id=identifier, topic=identifier, text=" ".join(text.split())), found)
    return draft.finish(SuiteInfo(name=name, licence="classic collection, freely distributed", source=name))


def _npl(directory: Path, name: str, *, lower: bool = False) -> list[tuple[str, str]]:
    text = _read(directory, name)
    return [(number, body.lower() if lower else body) for number, body in _NPL_RECORD.findall(text)]


def _read(directory: Path, name: str) -> str:
    return read_text(directory, name)
