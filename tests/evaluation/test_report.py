from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from evaluation import statistics
from evaluation.moves import EXCERPT_LENGTH, N_DOCUMENTS, extreme_topics
from evaluation.report import (
    Effect,
    Measure,
    ModelIdentity,
    ModelKind,
    Report,
    SuiteScores,
    TopicScores,
    load_report,
    save_report,
)
from evaluation.scoring import make_runs, measure_runs
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff
from evaluation.summary import summarize
from infembed.errors import AlteredArtefactError, BadInputError, MissingArtefactError
from tests.evaluation.pictured import ObedientEncoder, scored, small_suite


def _run(*documents: str) -> dict[str, float]:
    return {document: float(len(documents) - position) for position, document in enumerate(documents)}


def _scores(suite: str, values: list[float], *, kind: str = "facet") -> SuiteScores:
    topics = tuple(
        TopicScores(topic=str(number), values={Measure.P_MRR: value, Measure.NDCG: 0.5}, by_type={kind: value})
        for number, value in enumerate(values)
    )
    return SuiteScores(suite=suite, digest="0" * 64, n_documents=1, n_queries=1, topics=topics)


def _report(*suites: SuiteScores) -> Report:
    model = ModelIdentity(name="m", digest="d", document_fingerprint="f")
    return Report(model=model, created_at="2026-01-01T00:00:00+00:00", suites=suites)


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    report = scored(ObedientEncoder(0.3), [small_suite(n_topics=12)], name="m")
    report = report.model_copy(update={"summary": summarize(report)})
    save_report(report, tmp_path / "a" / "report.json")
    assert load_report(tmp_path / "a" / "report.json") == report


def test_a_report_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="infembed evaluate"):
        load_report(tmp_path / "report.json")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null", '"high"'])
def test_a_value_that_is_not_a_number_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "report.json"
    save_report(_report(_scores("one", [0.123])), path)
    path.write_text(path.read_text().replace("0.123", value))
    with pytest.raises(AlteredArtefactError, match=r"report\.json"):
        load_report(path)


def test_a_name_for_a_directory_tells_how_the_model_was_scored() -> None:
    model = ModelIdentity(name="org/../base", digest="0123456789", document_fingerprint="f", kind=ModelKind.URL)
    assert model.short_name == "org-..-base-url-01234567"
    assert ModelIdentity(name="../m", digest="0123456789", document_fingerprint="f").short_name == "-m-01234567"


def test_a_report_on_whole_vectors_keeps_the_digest_that_decisions_name() -> None:
    whole = ModelIdentity(name="m", digest="0" * 64, document_fingerprint="1" * 64)
    assert "dimensions" not in whole.model_dump_json()
    assert '"dimensions":8' in whole.model_copy(update={"dimensions": 8}).model_dump_json()
    with pytest.raises(ValidationError, match="greater than 0"):
        ModelIdentity.model_validate(whole.model_dump() | {"dimensions": -8})


def test_a_suite_that_was_not_scored_is_named() -> None:
    with pytest.raises(BadInputError, match="no suite 'two'"):
        _report(_scores("one", [0.1])).suite("two")


def test_means_of_suites_count_every_suite_alike() -> None:
    report = _report(_scores("one", [0.0] * 30), _scores("two", [0.6] * 10))
    summary = summarize(report)
    assert summary.macro[Measure.P_MRR].mean == pytest.approx(0.3)
    assert summary.macro[Measure.P_MRR].n_topics == 40
    assert summary.types["facet"].mean == pytest.approx(0.3)
    assert summary.suites["two"][Measure.P_MRR].mean == pytest.approx(0.6)
    assert Measure.LIFT not in summary.macro


def test_an_estimate_carries_the_interval_of_our_statistics() -> None:
    values = np.random.default_rng(0).normal(0.2, 0.3, 40)
    found = summarize(_report(_scores("one", values.tolist()))).suites["one"][Measure.P_MRR]
    assert (found.mean, found.low, found.high) == pytest.approx(statistics.interval({"one": values}))


def test_a_suite_with_few_topics_has_a_mean_and_no_interval() -> None:
    report = _report(_scores("many", [0.1] * 20), _scores("few", [0.3] * 9, kind="rare"))
    summary = summarize(report)
    few = summary.suites["few"][Measure.P_MRR]
    assert few.mean == pytest.approx(0.3)
    assert (few.low, few.high, few.n_topics) == (None, None, 9)
    assert summary.macro[Measure.P_MRR].mean == pytest.approx(0.2)
    assert summary.macro[Measure.P_MRR].low is None
    assert summary.types["rare"].low is None


def _suite() -> Suite:
    """Two topics over one corpus: `up` follows its instruction, `down` does the opposite."""
    documents = {name: name * 300 for name in "abcdefg"}
    queries = [
        SuiteQuery(id=f"{topic}-{role}", topic=topic, text="q", instruction=role, original=original)
        for topic in ("up", "down")
        for role, original in (("og", None), ("changed", f"{topic}-og"))
    ]
    before, after = {"a": 1, "b": 1, "c": 1}, {"a": 0, "b": 1, "d": 1}
    qrels = {query.id: after if query.original else before for query in queries}
    return Suite(
        info=SuiteInfo(name="s", licence="none", source="made for tests"),
        documents=documents,
        queries=tuple(queries),
        qrels=qrels,
        qrel_diff=derive_qrel_diff(queries, qrels),
    )


def test_moves_say_which_documents_went_where_and_whether_they_should() -> None:
    suite = _suite()
    instructed = {
        "up-og": _run(*"acbdefg"),
        "up-changed": _run(*"dbefgca"),
        "down-og": _run(*"dbacefg"),
        "down-changed": _run(*"acdbefg"),
    }
    best, worst = extreme_topics(suite, instructed, {"down": -0.5, "up": 0.76})
    assert (best.topic, worst.topic) == ("up", "down")
    assert best.p_mrr == 0.76
    (query,) = best.queries
    assert query.p_mrr == pytest.approx(((1 - 1 / 7) + (1 - 2 / 6)) / 2)
    assert (query.original_instruction, query.changed_instruction) == ("og", "changed")
    assert [(move.document, move.effect, move.rank_before, move.rank_after) for move in query.documents] == [
        ("a", Effect.WITHDRAWN, 1, 7),
        ("c", Effect.WITHDRAWN, 2, 6),
        ("d", Effect.ADDED, 4, 1),
        ("b", Effect.KEPT, 3, 2),
    ]
    assert all(len(move.excerpt) == EXCERPT_LENGTH and move.excerpt.endswith("…") for move in query.documents)


def test_moves_stay_small_and_no_topic_is_both_best_and_worst() -> None:
    suite = small_suite(n_topics=15)
    encoder = ObedientEncoder(0.4, noise=0.3)
    runs = make_runs(suite, encoder)
    scores = measure_runs(suite, runs)
    moves = extreme_topics(suite, runs.instructed, scores.values_of(Measure.P_MRR))
    assert len(moves) == len({topic.topic for topic in moves}) == 14
    assert [topic.p_mrr for topic in moves] == sorted((topic.p_mrr for topic in moves), reverse=True)
    by_topic = scores.values_of(Measure.P_MRR)
    assert all(topic.p_mrr == by_topic[topic.topic] for topic in moves)
    assert max(len(query.documents) for topic in moves for query in topic.queries) == N_DOCUMENTS


def test_a_suite_without_changed_instructions_moves_nothing() -> None:
    assert extreme_topics(_suite(), {}, {}) == ()


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError):
        Report.model_validate(_report(_scores("one", [0.1])).model_dump() | {"extra": 1})
