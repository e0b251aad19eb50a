from evaluation.scoring import make_runs
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from tests.fakes import HashingEncoder


def test_documents_a_query_excludes_are_not_ranked_for_it() -> None:
    suite = Suite(
        info=SuiteInfo(name="tea", licence="none", source="made for tests"),
        documents={"d1": "green tea", "d2": "black tea", "d3": "milk"},
        queries=(
            SuiteQuery(id="q", topic="q", text="tea", excluded=("d2",)),
            SuiteQuery(id="r", topic="r", text="tea"),
        ),
        qrels={"q": {"d1": 1}, "r": {"d2": 1}},
        qrel_diff={},
    )
    runs = make_runs(suite, HashingEncoder())
    for found in (runs.instructed, runs.plain):
        assert set(found["q"]) == {"d1", "d3"}
        assert set(found["r"]) == {"d1", "d2", "d3"}
