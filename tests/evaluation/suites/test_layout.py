import os
import subprocess
import sys
from typing import Any

import pytest

from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff
from infembed.errors import BadArtefactError

_DOCUMENTS = {"d1": "how tea is grown", "d2": "how tea is brewed", "d3": "what tea costs"}
_QRELS = {"tea-og": {"d1": 1, "d2": 1}, "tea-brewed": {"d2": 2, "d1": 0}}


def _queries(**changes: Any) -> tuple[SuiteQuery, SuiteQuery]:
    original = SuiteQuery(id="tea-og", topic="tea", text="tea", instruction="growing and brewing")
    changed = SuiteQuery(
        id="tea-brewed",
        topic="tea",
        text="tea",
        instruction="only brewing",
        instruction_type="facet",
        original="tea-og",
    )
    return original, changed.model_copy(update=changes)


def _suite(**changes: Any) -> Suite:
    parts: dict[str, Any] = {
        "info": SuiteInfo(name="tea", licence="none", source="made for tests"),
        "documents": _DOCUMENTS,
        "queries": _queries(),
        "qrels": _QRELS,
        "qrel_diff": {"tea-brewed": ("d1",)},
    }
    return Suite(**parts | changes)


def test_a_changed_query_withdraws_what_is_relevant_no_longer() -> None:
    assert derive_qrel_diff(_queries(), _QRELS) == {"tea-brewed": ("d1",)}


def test_documents_relevant_under_both_instructions_are_preserved() -> None:
    suite = _suite()
    (changed,) = suite.changed_queries
    assert suite.preserved(changed) == ["d2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"documents": {}}, "2 queries and 0 documents"),
        ({"queries": (_queries()[0],) * 2}, "two queries with one id"),
        ({"documents": _DOCUMENTS | {"d\t4": "x"}}, "holds a tab"),
        ({"queries": _queries(text=" ")}, "'tea-brewed' has no text"),
        ({"qrels": {"tea-og": {"d1": 1}}}, "'tea-brewed' has no judgements"),
        ({"qrels": _QRELS | {"tea-og": {}}}, "'tea-og' has no judgements"),
        ({"qrels": _QRELS | {"coffee": {"d1": 1}}}, "qrels names query 'coffee'"),
        ({"qrels": _QRELS | {"tea-og": {"d9": 1}}}, "qrels of 'tea-og' name document 'd9'"),
        ({"qrel_diff": {}}, "withdraws 0 documents"),
        ({"qrel_diff": {"tea-brewed": ("d1", "d1")}}, "withdraws 2 documents, 1 different"),
        ({"qrel_diff": {"tea-brewed": ("d9",)}}, "qrel_diff of 'tea-brewed' name document 'd9'"),
        ({"qrel_diff": {"tea-brewed": ("d1",), "tea-og": ("d2",)}}, "'tea-og' changes no other query"),
        ({"queries": _queries(original="tea-none")}, "'tea-none', which is not there"),
        ({"queries": _queries(original="tea-brewed")}, "'tea-brewed', which is itself"),
        ({"queries": _queries(topic="coffee")}, "'tea-og', which is of topic 'tea'"),
        ({"queries": _queries(candidates=())}, "has 0 candidates"),
        ({"queries": _queries(candidates=("d1", "d1"))}, "has 2 candidates, 1 different"),
        ({"queries": _queries(candidates=("d1", "d9"))}, "name document 'd9'"),
        ({"queries": _queries(excluded=("d9",))}, "name document 'd9'"),
        ({"queries": _queries(candidates=("d1",), excluded=("d2",))}, "both candidates and excluded"),
    ],
)
def test_a_suite_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArtefactError, match=message):
        _suite(**changes)


def test_the_digest_does_not_depend_on_the_order_of_anything() -> None:
    reordered = _suite(
        documents=dict(reversed(_DOCUMENTS.items())),
        queries=tuple(reversed(_queries())),
        qrels={query: dict(reversed(found.items())) for query, found in reversed(_QRELS.items())},
    )
    assert reordered.digest == _suite().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"documents": _DOCUMENTS | {"d3": "what tea weighs"}},
        {"queries": _queries(instruction="just brewing")},
        {"queries": _queries(instruction_type=None)},
        {"queries": _queries(candidates=("d1", "d2"))},
        {"queries": _queries(excluded=("d3",))},
        {"qrels": _QRELS | {"tea-og": {"d1": 2, "d2": 1}}},
        {"qrel_diff": {"tea-brewed": ("d1", "d3")}},
        {"info": SuiteInfo(name="tea", licence="none", source="made for tests", is_paired=True)},
    ],
)
def test_the_digest_changes_with_whatever_a_score_depends_on(changes: dict[str, Any]) -> None:
    assert _suite(**changes).digest != _suite().digest


def test_the_digest_is_the_same_in_every_process() -> None:
    script = (
        "from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery\n"
        "documents = {f'd{i}': str(i) for i in range(50)}\n"
        "query = SuiteQuery(id='q', topic='q', text='x', candidates=tuple(documents))\n"
        "info = SuiteInfo(name='n', licence='', source='')\n"
        "print(Suite(info, documents, (query,), {'q': dict.fromkeys(set(documents), 1)}, {}).digest)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=environment | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
