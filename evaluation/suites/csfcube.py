"""CSFCube: papers similar to a paper in background, method or result, judged by people from 0 to 3.

Its authors' scripts count a paper as relevant from grade 2 on. Here relevant means above 0, so grades are one lower.
"""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

from evaluation.suites.draft import SuiteDraft, choose, wordings
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.sources import read_jsonl, read_text
from infembed.errors import AlteredArtefactError

_FIELDS = 4
_BELOW_RELEVANT = 1


def build(directory: Path) -> Suite:
    """Build the suite: a reranking task over each paper's judged candidates, as its authors use it.

    Sixteen papers are judged under two facets; there the second facet is a changed instruction.
    """
    papers = {row["id"]: f"{row['title']}. {row['abstract']}" for row in read_jsonl(directory, "papers.jsonl.gz")}
    judged = _judgements(directory)
    draft = SuiteDraft()
    for paper in {paper for paper, _ in judged} | {document for grades in judged.values() for document in grades}:
        if paper not in papers:
            raise AlteredArtefactError(f"{directory}: paper {paper} is judged and has no text")
    known = {identifier: draft.document(identifier, text) for identifier, text in sorted(papers.items())}
    for topic in sorted({paper for paper, _ in judged}):
        facets = sorted(facet for paper, facet in judged if paper == topic)
        grades = {facet: _grades(judged[topic, facet], topic, known) for facet in facets}
        _add_topic(draft, topic, papers[topic], grades)
    return draft.finish(
        SuiteInfo(name="csfcube-facet", licence="CC BY-NC 4.0", source="CSFCube, iesl/CSFCube", split="test")
    )


def _grades(judged: Mapping[str, int], topic: str, known: Mapping[str, str]) -> dict[str, int]:
    """Return grades by document, the higher one where two papers have one text; the query itself is no candidate."""
    grades: dict[str, int] = {}
    for paper, grade in judged.items():
        document = known[paper]
        if document != known[topic]:
            grades[document] = max(grade - _BELOW_RELEVANT, grades.get(document, 0))
    return grades


def _add_topic(draft: SuiteDraft, topic: str, text: str, grades: Mapping[str, Mapping[str, int]]) -> None:
    candidates = tuple(sorted({document for found in grades.values() for document in found}))
    original, changed = _roles(grades)
    for facet, found in grades.items():
        is_changed = facet == changed
        query = SuiteQuery(
            id=f"{topic}:{facet}",
            topic=topic,
            text=text,
            instruction=choose(wordings("paper")[facet], f"{topic}:{facet}"),
            instruction_type="facet" if is_changed else None,
            original=f"{topic}:{original}" if is_changed else None,
            candidates=candidates,
        )
        draft.query(query, found)


def _roles(grades: Mapping[str, Mapping[str, int]]) -> tuple[str | None, str | None]:
    """Return the original facet and the changed one; None twice where neither withdraws what the other asks for."""
    for original, changed in permutations(grades, 2):
        if any(grade > 0 and grades[changed].get(document, 0) <= 0 for document, grade in grades[original].items()):
            return original, changed
    return None, None


def _judgements(directory: Path) -> dict[tuple[str, str], dict[str, int]]:
    judged: dict[tuple[str, str], dict[str, int]] = {}
    for number, line in enumerate(read_text(directory, "qrels.tsv").splitlines()[1:], start=2):
        fields = line.split("\t")
        if len(fields) != _FIELDS:
            raise AlteredArtefactError(
                f"{directory}/qrels.tsv line {number} has {len(fields)} fields, expected {_FIELDS}"
            )
        paper, facet, document, grade = fields
        judged.setdefault((paper, facet), {})[document] = _grade(grade, directory, number)
    return judged


def _grade(text: str, directory: Path, number: int) -> int:
    if text not in {"0", "1", "2", "3"}:
        raise AlteredArtefactError(f"{directory}/qrels.tsv line {number} has the grade {text!r}, expected 0 to 3")
    return int(text)
