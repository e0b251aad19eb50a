"""The built suites over the real data sets: exact counts, fixed digests, and what must hold of each."""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from evaluation.suites.builtin import BUILTIN
from evaluation.suites.catalogue import BUILT, DEFAULT, find_suite
from evaluation.suites.layout import Suite

pytestmark = pytest.mark.shared_data


class _Expected(NamedTuple):
    n_documents: int
    n_queries: int
    n_topics: int
    n_judgements: int
    changed: dict[str, int]
    digest: str


_EXPECTED = {
    "medquad": _Expected(1232, 1000, 250, 2732, {"facet": 250, "exclusion": 250}, "26d9e2b8f075"),
    "condaqa": _Expected(444, 468, 234, 857, {"polarity": 234}, "1b06146b1eeb"),
    "perspectrum": _Expected(2572, 340, 170, 2573, {"stance": 170}, "800efcf0c69a"),
    "fever-symmetric": _Expected(341, 710, 355, 711, {"stance": 355}, "98723fc05d02"),
    "csfcube": _Expected(4200, 50, 34, 6235, {"facet": 16}, "d456e2467c0b"),
    "npl": _Expected(11410, 93, 93, 2081, {}, "c5fc56a4b640"),
    "cranfield": _Expected(1398, 225, 225, 1836, {}, "a5d9dadbd5ad"),
    "cisi": _Expected(1458, 76, 76, 3113, {}, "263206e6e0d8"),
}
_OPPOSITES = ("condaqa", "perspectrum", "fever-symmetric")


@cache
def _built(name: str, data: Path) -> Suite:
    return find_suite(name, data=data)


def test_every_built_suite_is_expected_here() -> None:
    assert set(_EXPECTED) == set(BUILT)
    assert set(DEFAULT) == {*BUILTIN, *BUILT} - {"csfcube", "npl"}


@pytest.mark.parametrize("name", BUILT)
def test_a_built_suite_has_exactly_these_contents(name: str, shared_data: Path) -> None:
    suite = _built(name, shared_data)
    assert _EXPECTED[name] == _Expected(
        n_documents=len(suite.documents),
        n_queries=len(suite.queries),
        n_topics=len({query.topic for query in suite.queries}),
        n_judgements=sum(len(found) for found in suite.qrels.values()),
        changed=dict(Counter(str(query.instruction_type) for query in suite.changed_queries)),
        digest=suite.digest[:12],
    )


@pytest.mark.parametrize("name", BUILT)
def test_every_query_has_something_to_find(name: str, shared_data: Path) -> None:
    suite = _built(name, shared_data)
    assert all(any(grade > 0 for grade in suite.qrels[query.id].values()) for query in suite.queries)


@pytest.mark.parametrize("name", BUILT)
def test_withdrawn_documents_were_relevant_and_are_no_longer(name: str, shared_data: Path) -> None:
    suite = _built(name, shared_data)
    for query in suite.changed_queries:
        assert query.original is not None
        for document in suite.qrel_diff[query.id]:
            assert suite.qrels[query.original][document] > 0
            assert suite.qrels[query.id].get(document, 0) <= 0


@pytest.mark.parametrize("name", BUILT)
def test_a_changed_query_differs_from_its_original_in_the_instruction_alone(name: str, shared_data: Path) -> None:
    suite = _built(name, shared_data)
    for query in suite.changed_queries:
        original = suite.by_id[str(query.original)]
        assert (query.text, query.topic, query.candidates) == (original.text, original.topic, original.candidates)
        assert query.instruction != original.instruction


@pytest.mark.parametrize("name", _OPPOSITES)
def test_opposite_instructions_share_no_relevant_document(name: str, shared_data: Path) -> None:
    suite = _built(name, shared_data)
    assert all(suite.preserved(query) == [] for query in suite.changed_queries)


def test_no_medquad_page_begins_by_repeating_the_question(shared_data: Path) -> None:
    documents = _built("medquad", shared_data).documents.values()
    assert not [text for text in documents if text.startswith(("What ", "Is ", "How ")) and "?" in text[:120]]


def test_cranfield_questions_stand_beside_the_paper_they_were_asked_from(shared_data: Path) -> None:
    suite = _built("cranfield", shared_data)
    assert "composite slab" in suite.by_id["3"].text
    assert "485" in suite.qrels["3"]
    assert "composite slab" in suite.documents["485"]


@pytest.mark.parametrize("name", BUILT)
def test_the_docs_give_a_suites_counts_and_digest(name: str) -> None:
    expected = _EXPECTED[name]
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    counts = [f"{count:,}" for count in (expected.n_topics, expected.n_queries, expected.n_documents)]
    types = ", ".join(f"{kind} {count}" for kind, count in expected.changed.items()) or "none"
    assert [cells[1], *cells[2:5], cells[6]] == [types, *counts, f"`{expected.digest}`"]
