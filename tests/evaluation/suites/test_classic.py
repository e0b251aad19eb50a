from pathlib import Path

import pytest

from evaluation.suites.classic import build_cisi, build_cranfield, build_npl
from infembed.errors import AlteredArtefactError


def test_cranfield_numbers_its_queries_by_position(tmp_path: Path) -> None:
    (tmp_path / "cran.all.1400").write_text(
        ".I 1\n.T\nwings in rain .\n.A\nsmith\n.B\n1958\n.W\nwings in rain .\n  rain slows them .\n"
        ".I 2\n.T\nhot noses .\n.W\nnoses of rockets .\n.I 3\n.T\n\n.W\n\n"
    )
    (tmp_path / "cran.qry").write_text(
        ".I 001\n.W\ndoes rain\nmatter .\n.I 004\n.W\nare noses hot .\n.I 008\n.W\nwhy .\n"
    )
    (tmp_path / "cranqrel").write_text("1 1 2\n1 2 -1 \n2 2 3 \n2 3 1\n")
    suite = build_cranfield(tmp_path)
    assert {query.id: query.text for query in suite.queries} == {"1": "does rain matter .", "2": "are noses hot ."}
    assert suite.qrels == {"1": {"1": 1, "2": 1}, "2": {"2": 1}}
    assert suite.documents == {
        "1": "wings in rain . rain slows them .",
        "2": "hot noses . noses of rockets .",
    }, "a title stands once, a document without text is left out"


def test_cisi_numbers_its_queries_by_their_own_number_and_joins_titles(tmp_path: Path) -> None:
    (tmp_path / "CISI.ALL").write_text(
        ".I 1\n.T\nCards\n.A\nA\n.W\nOn cards.\n.X\n1\t5\n.I 2\n.T\nBooks\n.W\nOn books.\n"
    )
    (tmp_path / "CISI.QRY").write_text(".I 3\n.W\nHow are cards kept?\n.I 7\n.T\nBooks\n.A\nB\n.W\nBooks are read.\n")
    (tmp_path / "CISI.REL").write_text("     3     1\t0\t0.000000\n     7     2\t0\t0.000000\n     9     2\t0\t0.0\n")
    suite = build_cisi(tmp_path)
    assert {query.id: query.text for query in suite.queries} == {"3": "How are cards kept?", "7": "Books are read."}
    assert suite.qrels == {"3": {"1": 1}, "7": {"2": 1}}
    assert suite.documents == {"1": "Cards On cards.", "2": "Books On books."}


def test_npl_brings_its_queries_to_the_case_of_its_documents(tmp_path: Path) -> None:
    (tmp_path / "doc-text").write_text("\n1\nradio waves\n   /\n2\nvalves and\nlamps\n   /\n3\nradio  waves\n   /\n")
    (tmp_path / "query-text").write_text("1\nWAVES OF\nRADIO\n/\n2\nVALVES\n/\n")
    (tmp_path / "rlv-ass").write_text("1\n  1     3\n   /\n2\n  2\n   /\n")
    suite = build_npl(tmp_path)
    assert {query.id: query.text for query in suite.queries} == {"1": "waves of radio", "2": "valves"}
    assert suite.documents == {"1": "radio waves", "2": "valves and lamps"}
    assert suite.qrels == {"1": {"1": 1}, "2": {"2": 1}}
    assert suite.changed_queries == ()


def test_a_judgement_that_names_no_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cran.all.1400").write_text(".I 1\n.T\na\n.W\nb\n")
    (tmp_path / "cran.qry").write_text(".I 001\n.W\nc\n")
    (tmp_path / "cranqrel").write_text("1 1 2\n2\n")
    with pytest.raises(AlteredArtefactError, match="line 2 is '2', expected a query and a document"):
        build_cranfield(tmp_path)
