from evaluation.suites.draft import SuiteDraft, choose, digest_number, wordings
from evaluation.suites.layout import SuiteInfo, SuiteQuery

_INFO = SuiteInfo(name="tea", licence="none", source="made for tests")


def test_equal_texts_become_one_document() -> None:
    draft = SuiteDraft()
    assert draft.document("a", "How tea is  grown.") == "a"
    assert draft.document("b", "how TEA\nis grown. ") == "a"
    assert draft.document("c", "How tea is brewed.") == "c"
    draft.query(SuiteQuery(id="q", topic="q", text="tea"), ["a"])
    assert draft.finish(_INFO).documents == {"a": "How tea is grown.", "c": "How tea is brewed."}


def test_a_query_keeps_grades_or_counts_listed_documents_as_relevant() -> None:
    draft = SuiteDraft()
    for identifier in "abc":
        draft.document(identifier, f"text {identifier}")
    draft.query(SuiteQuery(id="graded", topic="t", text=" two\n words "), {"a": 2, "b": 0})
    draft.query(SuiteQuery(id="listed", topic="t", text="x", original="graded"), ["b", "c"])
    suite = draft.finish(_INFO)
    assert suite.by_id["graded"].text == "two words"
    assert suite.qrels == {"graded": {"a": 2, "b": 0}, "listed": {"b": 1, "c": 1}}
    assert suite.qrel_diff == {"listed": ("a",)}


def test_a_choice_never_changes() -> None:
    assert digest_number("tea") == 12247342506180525547
    assert choose(["first", "second", "third"], "tea") == ["first", "second", "third"][12247342506180525547 % 3]


def test_every_facet_has_names_and_every_wording_a_place_for_them() -> None:
    facet = wordings("facet")
    assert all(names for names in facet["names"].values())
    assert all("{facet}" in wording for kind in ("only", "except") for wording in facet[kind])
