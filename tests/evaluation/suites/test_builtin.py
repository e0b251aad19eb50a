from collections import Counter

from evaluation.suites.builtin import load_builtin

TYPES = {
    *("facet", "inclusion", "exclusion", "negation", "stance", "audience"),
    *("persona", "time", "place", "format", "detail", "conjunction"),
}


def test_instruct_mini_has_what_its_card_says() -> None:
    suite = load_builtin("instruct-mini")
    assert (len(suite.documents), len(suite.queries), len({query.topic for query in suite.queries})) == (1664, 727, 208)
    kinds = Counter(query.instruction_type for query in suite.changed_queries)
    assert set(kinds) == TYPES
    assert (kinds["exclusion"], kinds["negation"], min(kinds.values())) == (141, 121, 22)


def test_every_topic_of_instruct_mini_has_two_changed_instructions_over_one_query() -> None:
    suite = load_builtin("instruct-mini")
    changed = Counter(query.topic for query in suite.changed_queries)
    assert min(changed.values()) == 2
    for query in suite.changed_queries:
        assert query.original is not None
        assert query.text == suite.by_id[query.original].text
        assert query.instruction != suite.by_id[query.original].instruction


def test_most_changed_instructions_keep_a_document_that_was_relevant() -> None:
    suite = load_builtin("instruct-mini")
    kept = [query for query in suite.changed_queries if suite.preserved(query)]
    assert len(kept) / len(suite.changed_queries) > 0.8


def test_documents_of_instruct_mini_are_relevant_to_their_own_topic_only() -> None:
    suite = load_builtin("instruct-mini")
    for query, found in suite.qrels.items():
        topic = suite.by_id[query].topic
        assert all(document.rpartition("-")[0] == topic for document in found)
