import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.suites.draft import wordings
from evaluation.suites.layout import Suite
from evaluation.suites.opposites import build_condaqa, build_fever_symmetric, build_perspectrum
from evaluation.suites.splits import Split


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def _write_json(path: Path, content: object) -> None:
    data = json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _sides(suite: Suite, section: str) -> dict[str, set[str]]:
    """By side: the texts relevant to the queries whose instruction is one of that side's wordings."""
    found: dict[str, set[str]] = {}
    for query in suite.queries:
        (side,) = (side for side, wording in wordings(section).items() if query.instruction in wording)
        found.setdefault(side, set()).update(suite.documents[document] for document in suite.qrels[query.id])
    return found


def _condaqa(*rows: tuple[int, int, str, str]) -> list[dict[str, Any]]:
    return [
        {
            "passage_id": passage,
            "edit": edit,
            "question_id": "q1",
            "question": "Is it open?",
            "passage": text,
            "label": x,
        }
        for passage, edit, text, x in rows
    ]


def test_condaqa_asks_for_passages_that_answer_yes_and_for_those_that_answer_no(tmp_path: Path) -> None:
    rows = _condaqa(
        (1, 0, "The shop opens at nine.", "YES"),
        (1, 1, "At nine the shop opens.", "YES"),
        (1, 2, "The shop no longer opens.", "NO"),
        (1, 3, "The shop has doors.", "DON'T KNOW"),
        (2, 0, "The library opens daily.", "YES"),
    )
    _write_jsonl(tmp_path / "dev.jsonl.gz", rows)
    suite = build_condaqa(tmp_path)
    assert _sides(suite, "polarity") == {
        "yes": {"The shop opens at nine.", "At nine the shop opens."},
        "no": {"The shop no longer opens."},
    }
    (changed,) = suite.changed_queries
    assert changed.instruction_type == "polarity"
    assert changed.original is not None
    assert set(suite.qrel_diff[changed.id]) == set(suite.qrels[changed.original])
    assert "The library opens daily." in suite.documents.values(), "passages without an opposite are distractors"
    assert suite.info.split == "dev"


def test_a_passage_labelled_both_ways_is_relevant_to_neither(tmp_path: Path) -> None:
    rows = _condaqa(
        (1, 0, "The shop opens at nine.", "YES"),
        (1, 1, "The shop is seldom open.", "YES"),
        (1, 2, "The shop is seldom open.", "NO"),
        (1, 3, "The shop is closed.", "NO"),
    )
    _write_jsonl(tmp_path / "dev.jsonl.gz", rows)
    sides = _sides(build_condaqa(tmp_path), "polarity")
    assert sides == {"yes": {"The shop opens at nine."}, "no": {"The shop is closed."}}


def _perspectrum(directory: Path) -> None:
    pool = {1: "Tea calms.", 2: "Tea wakes people up.", 3: "Tea stains teeth.", 4: "Tea is hot.", 5: "Milk is white."}
    _write_json(directory / "perspective_pool_v1.0.json.gz", [{"pId": n, "text": text} for n, text in pool.items()])
    clusters = [("SUPPORT", [1, 2]), ("UNDERMINE", [3]), ("NOT_ENOUGH_INFO", [4])]
    perspectives = [{"stance_label_3": stance, "pids": pids} for stance, pids in clusters]
    claims = [
        {"cId": 10, "text": " People should drink tea", "perspectives": perspectives},
        {"cId": 11, "text": "Milk is good", "perspectives": [{"stance_label_3": "SUPPORT", "pids": [5]}]},
        {"cId": 12, "text": "Tea should be cheap", "perspectives": perspectives},
    ]
    _write_json(directory / "perspectrum_with_answers_v1.0.json.gz", claims)
    _write_json(directory / "dataset_split_v1.0.json", {"10": "test", "11": "test", "12": "train"})


def test_perspectrum_asks_for_reasons_on_either_side_of_its_official_split(tmp_path: Path) -> None:
    _perspectrum(tmp_path)
    suite = build_perspectrum(tmp_path)
    assert _sides(suite, "stance") == {
        "support": {"Tea calms.", "Tea wakes people up."},
        "oppose": {"Tea stains teeth."},
    }
    assert {query.text for query in suite.queries} == {"People should drink tea"}
    assert {query.topic for query in build_perspectrum(tmp_path, split=Split.TRAIN).queries} == {"12"}


def test_fever_symmetric_asks_for_the_sentence_that_confirms_and_the_one_that_contradicts(tmp_path: Path) -> None:
    sentences = {"Tea is a drink .": "SUPPORTS", "Tea is a bird .": "REFUTES"}
    rows = [
        {"id": n, "claim": claim, "evidence": evidence, "gold_label": label if claim == "Tea is drunk ." else other}
        for n, claim in enumerate(["Tea is drunk .", "Tea has wings ."])
        for evidence, label, other in [
            (text, label, "REFUTES" if label == "SUPPORTS" else "SUPPORTS") for text, label in sentences.items()
        ]
    ]
    _write_jsonl(tmp_path / "fever_symmetric_test.jsonl.gz", [row | {"id": n} for n, row in enumerate(rows)])
    suite = build_fever_symmetric(tmp_path)
    by_text = {(query.text, query.id.rpartition(":")[2]): query.id for query in suite.queries}
    relevant = {key: [suite.documents[d] for d in suite.qrels[query]] for key, query in by_text.items()}
    assert relevant == {
        ("Tea is drunk .", "support"): ["Tea is a drink ."],
        ("Tea is drunk .", "refute"): ["Tea is a bird ."],
        ("Tea has wings .", "support"): ["Tea is a bird ."],
        ("Tea has wings .", "refute"): ["Tea is a drink ."],
    }
    assert len(suite.documents) == 2
    assert {query.instruction_type for query in suite.changed_queries} == {"stance"}


@pytest.mark.parametrize("build", [build_condaqa, build_fever_symmetric])
def test_which_side_is_asked_for_first_is_decided_by_a_digest(tmp_path: Path, build: Any) -> None:
    condaqa = [
        row for n in range(40) for row in _condaqa((n, 0, f"It is open, {n}.", "YES"), (n, 1, f"No, {n}.", "NO"))
    ]
    _write_jsonl(tmp_path / "dev.jsonl.gz", condaqa)
    fever = [
        {"id": f"{n}{label}", "claim": f"It is {n} .", "evidence": f"{label} {n}", "gold_label": label}
        for n in range(40)
        for label in ("SUPPORTS", "REFUTES")
    ]
    _write_jsonl(tmp_path / "fever_symmetric_test.jsonl.gz", fever)
    suite = build(tmp_path)
    firsts = [query.id.rpartition(":")[2] for query in suite.queries if query.original is None]
    assert 10 < sum(side == firsts[0] for side in firsts) < 30
    assert build(tmp_path).digest == suite.digest
