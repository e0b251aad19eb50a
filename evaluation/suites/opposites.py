"""Suites whose two instructions ask for opposite things: CondaQA, Perspectrum, FEVER-symmetric."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.suites.draft import SuiteDraft, choose, digest_number, wordings
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.sources import read_jsonl, read_text
from evaluation.suites.splits import Split


@dataclass(frozen=True)
class _Sides:
    """A query, and what is relevant to it under each of two opposite instructions."""

    text: str
    relevant: dict[str, list[str]] = field(default_factory=dict)

    def add(self, side: str, document: str) -> None:
        found = self.relevant.setdefault(side, [])
        if document not in found:
            found.append(document)


def build_condaqa(directory: Path) -> Suite:
    """CondaQA's dev split: passages edited so that the answer to a question flips from yes to no."""
    draft = SuiteDraft()
    topics: dict[str, _Sides] = {}
    for row in read_jsonl(directory, "dev.jsonl.gz"):
        if row["label"] not in {"YES", "NO"}:
            continue
        sides = topics.setdefault(f"{row['passage_id']}-{row['question_id']}", _Sides(row["question"]))
        document = draft.document(f"{row['passage_id']}-{row['edit']}", row["passage"])
        sides.add(row["label"].lower(), document)
    _add_topics(draft, topics, section="polarity", kind="polarity")
    licence = "Apache-2.0, passages CC BY-SA"
    return draft.finish(
        SuiteInfo(
            name="condaqa-polarity", licence=licence, source="CondaQA dev, AbhilashaRavichander/CondaQA", split="dev"
        )
    )


def build_perspectrum(directory: Path, *, split: Split = Split.TEST) -> Suite:
    """Perspectrum's official split: claims and perspectives that support or undermine them."""
    splits = json.loads(read_text(directory, "dataset_split_v1.0.json"))
    pool = {row["pId"]: row["text"] for row in json.loads(read_text(directory, "perspective_pool_v1.0.json.gz"))}
    draft = SuiteDraft()
    topics: dict[str, _Sides] = {}
    names = {"SUPPORT": "support", "UNDERMINE": "oppose"}
    for claim in json.loads(read_text(directory, "perspectrum_with_answers_v1.0.json.gz")):
        if splits.get(str(claim["cId"])) != split:
            continue
        sides = topics.setdefault(str(claim["cId"]), _Sides(claim["text"]))
        for cluster in claim["perspectives"]:
            for identifier in cluster["pids"] if cluster["stance_label_3"] in names else ():
                document = draft.document(f"p{identifier}", pool[identifier])
                sides.add(names[cluster["stance_label_3"]], document)
    _add_topics(draft, topics, section="stance", kind="stance")
    return draft.finish(
        SuiteInfo(
            name="perspectrum-stance", licence="CC BY-SA 4.0", source="Perspectrum, CogComp/perspectrum", split=split
        )
    )


def build_fever_symmetric(directory: Path) -> Suite:
    """FEVER-symmetric's test file: a claim with one sentence that supports and one that refutes it."""
    draft = SuiteDraft()
    topics: dict[str, _Sides] = {}
    names = {"SUPPORTS": "support", "REFUTES": "refute"}
    for row in read_jsonl(directory, "fever_symmetric_test.jsonl.gz"):
        sides = topics.setdefault(row["claim"], _Sides(row["claim"]))
        document = draft.document(str(row["id"]), row["evidence"])
        sides.add(names[row["gold_label"]], document)
    _add_topics(draft, topics, section="evidence", kind="stance")
    return draft.finish(
        SuiteInfo(name="fever-symmetric", licence="CC BY-SA 3.0", source="FEVER-symmetric, TalSchuster/FeverSymmetric")
    )


def _add_topics(draft: SuiteDraft, topics: Mapping[str, _Sides], *, section: str, kind: str) -> None:
    """Add each topic that has both sides; a digest decides which side is asked for first."""
    text = wordings(section)
    first, second = text
    for topic, sides in topics.items():
        both = {side: set(sides.relevant.get(side, ())) for side in (first, second)}
        contested = both[first] & both[second]
        order = [first, second] if digest_number(topic) % 2 else [second, first]
        relevant = [sorted(both[side] - contested) for side in order]
        if not all(relevant):
            continue
        for place, side in enumerate(order):
            query = SuiteQuery(
                id=f"{topic}:{side}",
                topic=topic,
                text=sides.text,
                instruction=choose(text[side], f"{topic}:{side}"),
                instruction_type=kind if place else None,
                original=f"{topic}:{order[0]}" if place else None,
            )
            draft.query(query, relevant[place])
