import string
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import evaluation.suites.draft
from evaluation.suites.splits import Split
from training.corpus.recipes.wordings import all_phrases, all_wordings, choose_phrase, choose_wording

_EVALUATED = Path(evaluation.suites.draft.__file__).with_name("wordings.toml")


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    return [str(text) for text in value] if isinstance(value, list) else []


def _bare(text: str) -> str:
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text.casefold()).split())


@pytest.mark.parametrize("section", all_wordings())
def test_a_list_is_long_and_a_fifth_of_it_is_held_out(section: str) -> None:
    wordings = all_wordings()[section]
    n = len(wordings.train) + len(wordings.held_out)
    assert n >= 25
    assert len(wordings.held_out) == n // 5
    assert not set(wordings.train) & set(wordings.held_out)


def test_no_wording_stands_twice_in_any_list() -> None:
    counts = Counter(_bare(text) for parts in all_wordings().values() for part in parts for text in part)
    assert [text for text, count in counts.items() if count > 1] == []


def test_no_wording_and_no_phrase_is_one_of_the_evaluation_suites() -> None:
    evaluated = {_bare(text) for text in _texts(tomllib.loads(_EVALUATED.read_text(encoding="utf-8")))}
    ours = [text for parts in all_wordings().values() for part in parts for text in part]
    ours += [text for phrases in all_phrases().values() for text in phrases]
    assert [text for text in ours if _bare(text) in evaluated] == []


def test_wordings_of_one_list_have_the_same_places_to_fill() -> None:
    for section, (train, held_out) in all_wordings().items():
        places = {
            frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name) for text in train + held_out
        }
        assert len(places) == 1, section


@pytest.mark.parametrize("section", ["medquad", "paper"])
def test_a_facet_has_at_least_four_names(section: str) -> None:
    phrases = {name: texts for name, texts in all_phrases().items() if name.startswith(f"{section}.")}
    assert len(phrases) >= 5
    assert all(len(set(texts)) == len(texts) >= 4 for texts in phrases.values())


def test_train_and_the_held_out_splits_draw_from_different_wordings() -> None:
    keys = [str(number) for number in range(500)]
    drawn = {split: {choose_wording("medquad.except", key, split) for key in keys} for split in Split}
    assert drawn[Split.TRAIN] == set(all_wordings()["medquad.except"].train)
    assert drawn[Split.DEV] == drawn[Split.TEST] == set(all_wordings()["medquad.except"].held_out)


def test_a_choice_depends_on_nothing_but_section_and_key() -> None:
    assert choose_wording("stance.support", "12", Split.TRAIN) == choose_wording("stance.support", "12", Split.TRAIN)
    assert choose_phrase("paper.phrases.results", "12") in all_phrases()["paper.phrases.results"]
