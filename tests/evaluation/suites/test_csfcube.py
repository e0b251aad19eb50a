import gzip
import json
from pathlib import Path

import pytest

from evaluation.suites.csfcube import build
from evaluation.suites.draft import wordings
from infembed.errors import AlteredArtefactError

_PAPERS = {"q": "Query", "p1": "First", "p2": "Second", "p3": "Third", "p4": "Fourth", "twin": "First", "lone": "Lone"}
_JUDGED = """query_paper\tfacet\tpaper\trel
q\tbackground\tq\t3
q\tbackground\tp1\t1
q\tbackground\ttwin\t2
q\tbackground\tp2\t3
q\tbackground\tp3\t1
q\tmethod\tp1\t1
q\tmethod\tp2\t2
q\tmethod\tp3\t2
q\tmethod\tp4\t0
lone\tresult\tp1\t2
lone\tresult\tp4\t0
"""


def _write(directory: Path, judged: str = _JUDGED) -> None:
    rows = [{"id": n, "title": title, "abstract": f"On {title}."} for n, title in _PAPERS.items()]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "papers.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (directory / "qrels.tsv").write_text(judged, encoding="utf-8")


def test_relevance_begins_where_the_authors_scripts_begin_it(tmp_path: Path) -> None:
    _write(tmp_path)
    suite = build(tmp_path)
    assert suite.qrels["q:background"] == {"p1": 1, "p2": 2, "p3": 0}, "grades 1 and below count as not relevant"
    assert suite.qrels["lone:result"] == {"p1": 1, "p4": 0}


def test_a_second_facet_is_a_changed_instruction_over_the_same_candidates(tmp_path: Path) -> None:
    _write(tmp_path)
    suite = build(tmp_path)
    (changed,) = suite.changed_queries
    assert (changed.id, changed.original, changed.instruction_type) == ("q:method", "q:background", "facet")
    assert suite.qrel_diff == {"q:method": ("p1",)}
    assert suite.preserved(changed) == ["p2"]
    assert changed.candidates == suite.by_id["q:background"].candidates == ("p1", "p2", "p3", "p4")
    assert changed.instruction in wordings("paper")["method"]


def test_the_query_paper_and_papers_with_one_text_are_candidates_once(tmp_path: Path) -> None:
    _write(tmp_path)
    suite = build(tmp_path)
    assert all("q" not in (query.candidates or ()) for query in suite.queries if query.topic == "q")
    assert "twin" not in suite.documents


def test_the_order_of_facets_is_the_one_that_withdraws_a_paper(tmp_path: Path) -> None:
    _write(tmp_path, "h\th\th\th\nq\tbackground\tp1\t2\nq\tbackground\tp2\t1\nq\tmethod\tp1\t2\nq\tmethod\tp2\t2\n")
    (changed,) = build(tmp_path).changed_queries
    assert (changed.id, changed.original) == ("q:background", "q:method")


def test_facets_that_ask_for_the_same_papers_change_nothing(tmp_path: Path) -> None:
    _write(tmp_path, "h\th\th\th\nq\tbackground\tp1\t2\nq\tmethod\tp1\t3\n")
    assert build(tmp_path).changed_queries == ()


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        ("h\nq\tmethod\tp1\n", "line 2 has 3 fields, expected 4"),
        ("h\nq\tmethod\tp1\t4\n", "line 2 has the grade '4', expected 0 to 3"),
        ("h\nq\tmethod\tp9\t2\n", "paper p9 is judged and has no text"),
    ],
)
def test_broken_judgements_are_refused(tmp_path: Path, judged: str, message: str) -> None:
    _write(tmp_path, judged)
    with pytest.raises(AlteredArtefactError, match=message):
        build(tmp_path)
