from hypothesis import given, settings
from hypothesis import strategies as st

from training.corpus.texts import jaccard, n_grams, near_duplicates, normalized, words

PAGE = words(
    "The slugs come out at ten and eat the lettuce while a torch finds them under the leaves of the second row."
)


def test_case_accents_and_punctuation_do_not_make_a_text_another() -> None:
    assert normalized("Crème  brûlée, PLEASE!") == normalized("creme brulee please") == "creme brulee please"


def test_a_text_shorter_than_the_run_is_one_run_and_an_empty_one_none() -> None:
    assert list(n_grams(("a", "b"), 3)) == [("a", "b")]
    assert list(n_grams((), 3)) == []
    assert list(n_grams(("a", "b", "c", "d"), 3)) == [("a", "b", "c"), ("b", "c", "d")]


def test_similarity_is_the_share_of_common_runs() -> None:
    assert jaccard(["a", "b", "c", "d"], ["a", "b", "c", "e"]) == 1 / 3
    assert jaccard((), ()) == 1.0


@settings(deadline=None)  # the first call imports the library
@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=8), max_size=12))
def test_no_pair_is_reported_that_is_not_alike(texts: list[list[str]]) -> None:
    found = list(near_duplicates(texts, threshold=0.8))
    assert all(earlier < later and jaccard(texts[later], texts[earlier]) >= 0.8 for later, earlier in found)


def test_copies_with_one_word_changed_are_found_among_many_texts() -> None:
    others = [[f"w{i}-{j}" for j in range(30)] for i in range(300)]
    changed = [*PAGE[:-1], "path"]
    texts = [PAGE, *others, changed]
    assert list(near_duplicates(texts, threshold=0.8)) == [(301, 0)]


def test_words_keep_digits_and_other_scripts() -> None:
    assert words("RFC-7231 für Ülkü, 東京!") == ("rfc", "7231", "fur", "ulku", "東京")
