from collections import Counter
from itertools import combinations

import pytest

from evaluation.suites.builtin import BUILTIN, load_builtin

TYPES = {
    *("facet", "inclusion", "exclusion", "negation", "stance", "audience"),
    *("persona", "time", "place", "format", "detail", "conjunction"),
}


SIZES = {
    # documents, queries, topics; exclusions, negations, the rarest type
    "instruct-mini": ((1664, 727, 208), (141, 121, 22)),
    "instruct-mini-2": ((1496, 738, 187), (141, 155, 15)),
    "like-mini": ((840, 360, 120), (85, 27, 3)),
}


@pytest.mark.parametrize("name", BUILTIN)
def test_suites_have_what_their_cards_say(name: str) -> None:
    suite = load_builtin(name)
    sizes, types = SIZES[name]
    assert suite.info.name == name
    assert (len(suite.documents), len(suite.queries), len({query.topic for query in suite.queries})) == sizes
    kinds = Counter(query.instruction_type for query in suite.changed_queries)
    assert set(kinds) == TYPES - ({"stance", "format"} if name == "like-mini" else set())
    assert (kinds["exclusion"], kinds["negation"], min(kinds.values())) == types


@pytest.mark.parametrize("name", BUILTIN)
def test_every_topic_has_two_changed_instructions_over_one_query(name: str) -> None:
    suite = load_builtin(name)
    changed = Counter(query.topic for query in suite.changed_queries)
    assert min(changed.values()) == 2
    for query in suite.changed_queries:
        assert query.original is not None
        assert query.text == suite.by_id[query.original].text
        assert query.instruction != suite.by_id[query.original].instruction


@pytest.mark.parametrize(("name", "share"), [("instruct-mini", 0.8), ("instruct-mini-2", 0.7), ("like-mini", 0.6)])
def test_most_changed_instructions_keep_a_document_that_was_relevant(name: str, share: float) -> None:
    suite = load_builtin(name)
    kept = [query for query in suite.changed_queries if suite.preserved(query)]
    assert len(kept) / len(suite.changed_queries) > share


@pytest.mark.parametrize("name", BUILTIN)
def test_documents_are_relevant_to_their_own_topic_only(name: str) -> None:
    suite = load_builtin(name)
    for query, found in suite.qrels.items():
        topic = suite.by_id[query].topic
        assert all(document.rpartition("-")[0] == topic for document in found)


def test_suites_share_no_domain_and_no_passage() -> None:
    for first, second in combinations(map(load_builtin, BUILTIN), 2):
        domains = [{query.topic.rpartition("-")[0] for query in suite.queries} for suite in (first, second)]
        assert not domains[0] & domains[1]
        assert not set(first.documents.values()) & set(second.documents.values())


def test_queries_of_like_mini_are_whole_texts_and_no_passage_of_it() -> None:
    suite = load_builtin("like-mini")
    texts = {query.text for query in suite.queries}
    assert len(texts) == len({query.topic for query in suite.queries})
    assert min(len(text.split()) for text in texts) >= 60
    assert not texts & set(suite.documents.values())
