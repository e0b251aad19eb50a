import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from evaluation.suites import medquad
from evaluation.suites.draft import wordings
from evaluation.suites.layout import Suite
from evaluation.suites.splits import Split

_GREENLUNG = {
    "information": "Greenlung is an illness of the lung that gardeners know well.",
    "symptoms": "People with greenlung cough in spring and sneeze in summer.",
    "treatment": "Greenlung is treated with rest, tea and an open window.",
}


def _build(directory: Path, *conditions: tuple[str, Mapping[str, str]], synonyms: Sequence[str] = ()) -> Suite:
    """Build the training part of some conditions: (name, answer by facet)."""
    rows = [
        {"id": f"{name}-{facet}", "focus": name, "qtype": facet, "answer": answer, "synonyms": list(synonyms)}
        for name, answers in conditions
        for facet, answer in answers.items()
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "medquad.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return medquad.build(directory, split=Split.TRAIN)


def _relevant(suite: Suite, query: str) -> set[str]:
    return {document.rpartition("-")[2] for document, grade in suite.qrels[query].items() if grade > 0}


def test_one_query_asks_for_a_facet_and_its_change_for_another(tmp_path: Path) -> None:
    suite = _build(tmp_path, ("greenlung", _GREENLUNG))
    one, other = _relevant(suite, "greenlung:one"), _relevant(suite, "greenlung:other")
    assert {*one, *other} == {"symptoms", "treatment"}
    assert suite.by_id["greenlung:other"].original == "greenlung:one"
    assert suite.qrel_diff["greenlung:other"] == tuple(suite.qrels["greenlung:one"])
    assert suite.by_id["greenlung:other"].instruction_type == "facet"


def test_one_query_asks_for_everything_and_its_change_leaves_a_facet_out(tmp_path: Path) -> None:
    suite = _build(tmp_path, ("greenlung", _GREENLUNG))
    left_out = _relevant(suite, "greenlung:one")
    assert _relevant(suite, "greenlung:all") == set(_GREENLUNG)
    assert _relevant(suite, "greenlung:except") == set(_GREENLUNG) - left_out
    changed = suite.by_id["greenlung:except"]
    assert (changed.original, changed.instruction_type) == ("greenlung:all", "exclusion")
    assert len(suite.preserved(changed)) == 2


def test_an_instruction_names_the_facet_that_its_relevant_pages_have(tmp_path: Path) -> None:
    suite = _build(tmp_path, ("greenlung", _GREENLUNG))
    names = wordings("facet")["names"]
    for query in ("one", "other"):
        (facet,) = _relevant(suite, f"greenlung:{query}")
        assert any(name in str(suite.by_id[f"greenlung:{query}"].instruction) for name in names[facet])
    (left_out,) = _relevant(suite, "greenlung:one")
    assert any(name in str(suite.by_id["greenlung:except"].instruction) for name in names[left_out])


def test_a_general_page_is_never_withdrawn(tmp_path: Path) -> None:
    names = [
        f"{first}{last}" for first in ("green", "moon", "stone", "wind") for last in ("lung", "spot", "toe", "rash")
    ]
    pages = [
        (
            name,
            {
                "information": f"{name} is an illness that few people know of.",
                "symptoms": f"A {name} itches a lot in spring and in summer.",
            },
        )
        for name in names
    ]
    suite = _build(tmp_path, *pages)
    assert len(suite.changed_queries) >= 16
    assert all(document.endswith("symptoms") for gone in suite.qrel_diff.values() for document in gone)


def test_facets_that_answer_each_others_question_are_not_set_against_each_other(tmp_path: Path) -> None:
    answers = {
        "causes": "Greenlung is caused by moss that settles in the lung.",
        "genetic changes": "A change of the moss gene is behind greenlung in most cases.",
    }
    with pytest.raises(ValueError, match="0 queries"):
        _build(tmp_path, ("greenlung", answers))


def test_the_question_that_an_answer_repeats_is_cut_off(tmp_path: Path) -> None:
    asked = "What are the symptoms of greenlung no. 2? Are there others? " + _GREENLUNG["symptoms"]
    suite = _build(tmp_path, ("greenlung", _GREENLUNG | {"symptoms": asked}))
    assert suite.documents["greenlung-symptoms"] == _GREENLUNG["symptoms"]


@pytest.mark.parametrize(
    "page",
    [
        "This condition is inherited in an autosomal recessive pattern, which means both copies are changed.",
        "Greenlung is rare.",
        "These resources address the diagnosis or management of greenlung: - Gene Review - Registry",
    ],
)
def test_a_page_no_reader_could_tell_to_be_relevant_is_left_out(tmp_path: Path, page: str) -> None:
    suite = _build(tmp_path, ("greenlung", _GREENLUNG | {"inheritance": page}), synonyms=["moss disease"])
    assert "greenlung-inheritance" not in suite.documents


def test_a_page_that_uses_a_synonym_is_kept(tmp_path: Path) -> None:
    page = "Moss sickness runs in families of gardeners, though nobody knows why."
    suite = _build(tmp_path, ("greenlung", _GREENLUNG | {"inheritance": page}), synonyms=["moss disease"])
    assert "greenlung-inheritance" in suite.documents


def test_sources_that_write_a_name_in_different_case_share_a_topic(tmp_path: Path) -> None:
    more = {"prevention": "To prevent greenlung, gardeners keep away from the moss."}
    suite = _build(tmp_path, ("greenlung", _GREENLUNG), ("Greenlung", more))
    assert {query.topic for query in suite.queries} == {"greenlung"}
    assert _relevant(suite, "greenlung:all") == {*_GREENLUNG, "prevention"}


def test_of_two_conditions_whose_names_contain_one_another_one_is_chosen(tmp_path: Path) -> None:
    ague = {
        facet: text.replace("greenlung", "river ague").replace("Greenlung", "River ague")
        for facet, text in _GREENLUNG.items()
    }
    late = {facet: text.replace("iver ague", "iver ague of Moscow") for facet, text in ague.items()}
    suite = _build(tmp_path, ("river ague", ague), ("river ague of Moscow", late), ("greenlung", _GREENLUNG))
    assert len({query.topic for query in suite.queries}) == 2


def test_conditions_of_another_split_or_with_one_facet_are_left_out(tmp_path: Path) -> None:
    test_only = {facet: text.replace("reenlung", "andle itch") for facet, text in _GREENLUNG.items()}
    single = {"symptoms": "People with moonspot see spots in the moonlight every night."}
    suite = _build(tmp_path, ("greenlung", _GREENLUNG), ("candle itch", test_only), ("moonspot", single))
    assert {query.topic for query in suite.queries} == {"greenlung"}
    assert {query.topic for query in medquad.build(tmp_path).queries} == {"candle itch"}
