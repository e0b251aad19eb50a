from evaluation.suites.draft import SuiteDraft
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from tests.training_rows import VALUES, make_row
from training.corpus.validation.decontamination import (
    Contaminated,
    Overlap,
    Protected,
    count_overlaps,
    decontaminate_rows,
)

PAGE = (
    "A ring of copper tape around the raised bed gives slugs a small shock, so that most of them turn back before "
    "they reach the lettuce; the tape wants cleaning with vinegar every two weeks or it stops working."
)


def suite() -> Suite:
    draft = SuiteDraft()
    document = draft.document("d", PAGE)
    query = SuiteQuery(id="q", topic="t", text="slugs and raised beds of lettuce")
    draft.query(query, [document])
    return draft.finish(SuiteInfo(name="garden", licence="Apache-2.0", source="test"))


def protected() -> Protected:
    found = Protected()
    found.add_suite(suite())
    return found


def test_a_row_that_shares_nothing_stays() -> None:
    assert protected().find(make_row()) is None


def test_a_suites_query_goes_whatever_its_case_and_in_any_column() -> None:
    for column in ("query_positive", "query_negative"):
        found = protected().find(make_row(**{column: "Slugs, and raised beds of lettuce"}))
        assert found == Contaminated(Overlap.QUERY, "garden q")


def test_a_query_that_contains_a_suites_query_goes() -> None:
    found = protected().find(make_row(query_positive="best advice on slugs and raised beds of lettuce please"))
    assert found is not None
    assert found.overlap is Overlap.QUERY


def test_a_short_topic_is_no_reason_to_drop_every_query_that_mentions_it() -> None:
    found = Protected()
    found.add_topic("7", title="lettuce")
    assert found.find(make_row()) is None
    assert found.find(make_row(query_positive="Lettuce")) == Contaminated(Overlap.QUERY, "topic 7")


def test_a_copied_passage_goes_and_one_shared_phrase_does_not() -> None:
    copied = make_row(hard_negative_document_1="My neighbour writes: " + PAGE.upper())
    found = protected().find(copied)
    assert found is not None
    assert found.overlap is Overlap.DOCUMENT
    assert found.detail == "garden d"
    phrase = " ".join(PAGE.split()[:14])
    rest = " ".join(f"word{i}" for i in range(80))
    assert protected().find(make_row(document_positive=f"{phrase} {rest}")) is None


def test_a_topic_is_excluded_by_its_id() -> None:
    found = Protected()
    found.add_topic("Robust04-301")
    assert found.find(make_row(source_id="robust04-301")) == Contaminated(Overlap.TOPIC, "robust04-301")
    assert found.find(make_row(source_id="robust04-302")) is None
    assert found.find(make_row()) is None


def test_removed_rows_are_counted_by_reason_with_their_numbers() -> None:
    rows = [make_row(), make_row(query_positive="slugs and raised beds of lettuce"), make_row(document_positive=PAGE)]
    removed: dict[int, Contaminated] = {}
    kept = list(decontaminate_rows(rows, protected(), removed=removed))
    assert [row.query_positive for row in kept] == [VALUES["query_positive"]]
    assert sorted(removed) == [2, 3]
    assert count_overlaps(removed) == {Overlap.TOPIC: 0, Overlap.QUERY: 1, Overlap.DOCUMENT: 1}
