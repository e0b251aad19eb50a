"""CSFCube: papers similar to a paper in background, method or result, judged by people from 0 to 3."""

from pathlib import Path

from evaluation.suites.draft import SuiteDraft, choose, wordings
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.sources import read_jsonl, read_text
from infembed.errors import AlteredArtefactError

_FIELDS = 4


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
        grades = {
            facet: {known[document]: grade for document, grade in judged[topic, facet].items() if document != topic}
            for facet in facets
        }
        _add_topic(draft, topic, papers[topic], grades)
    return draft.finish(
        SuiteInfo(name="csfcube-facet", licence="CC BY-NC 4.0", source="CSFCube, iesl/CSFCube", split="test")
    )


def _add_topic(draft: SuiteDraft, topic: str, text: str, grades: dict[str, dict[str, int]]) -> None:
    candidates = tuple(sorted({document for found in grades.values() for document in found}))
    original, *others = grades
    for facet, found in grades.items():
        is_changed = facet in others and any(
            grade > 0 and found.get(document, 0) <= 0 for document, grade in grades[original].items()
        )
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


def _judgements(directory: Path) -> dict[tuple[str, str], dict[str, int]]:
    judged: dict[tuple[str, str], dict[str, int]] = {}
    for number, line in enumerate(read_text(directory, "qrels.tsv").splitlines()[1:], start=2):
        fields = line.split("\t")
        if len(fields) != _FIELDS:
            raise AlteredArtefactError(
                f"{directory}/qrels.tsv line {number} has {len(fields)} fields, expected {_FIELDS}"
            )
        paper, facet, document, grade = fields
        judged.setdefault((paper, facet), {})[document] = int(grade)
    return judged
