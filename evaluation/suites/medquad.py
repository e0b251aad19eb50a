"""MedQuAD: one condition, several pages, and instructions that ask for one facet of it or leave one out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.suites.draft import SuiteDraft, choose, digest_number, wordings
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.sources import read_jsonl
from evaluation.suites.splits import Split, split_of

SOURCE = "medquad"
N_TOPICS = 250
_LONGEST_WORDS = 200
_SHORTEST_WORDS = 8
GENERAL = "information"
_OVERLAPPING = (
    {"causes", "genetic changes"},
    {"causes", "susceptibility"},
    {"complications", "symptoms"},
    {"prevention", "susceptibility"},
    {"research", "treatment"},
)
"""Facets whose pages often answer each other's question: one must not withdraw the other."""

_LEADING_QUESTION = re.compile(
    r"^(?:(?:who|what|which|why|how|where|when|is|are|can|could|do|does|has|have|will|should)\b[^?!]{1,200}"
    r"|[^.?!]{1,200})\?\s*",
    re.IGNORECASE,
)
_LINKS_ONLY = "These resources address the diagnosis or management of"
_WORD = re.compile(r"[a-z0-9]{3,}")
_STEM = 5
_ANY_CONDITION = frozenset(
    _WORD.findall(
        "also and autosomal both condition congenital deficiency disease disorder disorders dominant due familial "
        "for from gene genes genetic hereditary infection inherited known linked non not recessive related syndrome "
        "the type with"
    )
)


@dataclass
class Condition:
    """A condition with every name it goes by, and its pages, (id, text), by facet."""

    name: str
    names: set[str] = field(default_factory=set)
    pages: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def tells_apart(self, first: str, second: str) -> bool:
        """Tell whether the pages on two facets answer different questions, so that one may withdraw the other."""
        return first != second and {first, second} not in _OVERLAPPING and not self._texts(first) & self._texts(second)

    def _texts(self, facet: str) -> set[str]:
        return {text.casefold() for _, text in self.pages[facet]}


def build(directory: Path, *, split: Split = Split.TEST) -> Suite:
    """Build the suite of one split; a topic is a condition, the query its name."""
    draft = SuiteDraft()
    for condition in _chosen(group_conditions(read_jsonl(directory, "medquad.jsonl.gz"), split)):
        _add_topic(draft, condition)
    info = SuiteInfo(name="medquad-facet", licence="CC BY 4.0", source="MedQuAD, abachaa/MedQuAD", split=split)
    return draft.finish(info)


def group_conditions(rows: Iterable[Mapping[str, Any]], split: Split) -> list[Condition]:
    """Group the pages one can use by condition, those of one split; sources write the same name in different case."""
    facets = wordings("facet")["names"]
    conditions: dict[str, Condition] = {}
    for row in rows:
        name = " ".join(row["focus"].split())
        if not name or row["qtype"] not in facets or split_of(SOURCE, name.casefold()) is not split:
            continue
        condition = conditions.setdefault(name.casefold(), Condition(name))
        condition.names |= {name, *row["synonyms"]}
        text = _without_leading_questions(row["answer"])
        if _is_about(text, [name, *row["synonyms"]]):
            condition.pages.setdefault(row["qtype"], []).append((row["id"], text))
    return list(conditions.values())


def _without_leading_questions(answer: str) -> str:
    """Many answers begin by repeating the question, which gives them away."""
    text = " ".join(answer.split())
    while question := _LEADING_QUESTION.match(text):
        text = text[question.end() :]
    return " ".join(text.split()[:_LONGEST_WORDS])


def _is_about(text: str, names: Iterable[str]) -> bool:
    """Tell whether a reader sees which condition a page is about, and whether it is more than a list of links.

    "This condition is inherited in an autosomal recessive pattern" stands in hundreds of pages word for word.
    """
    is_text = len(text.split()) >= _SHORTEST_WORDS and not text.startswith(_LINKS_ONLY)
    return is_text and bool(_stems(text) & _stems(" ".join(names)))


def _stems(text: str) -> set[str]:
    return {word[:_STEM] for word in _WORD.findall(text.casefold()) if word not in _ANY_CONDITION}


def _chosen(conditions: Iterable[Condition]) -> list[Condition]:
    """Choose topics by a digest; of conditions whose names contain one another the first only.

    A page on "Noonan syndrome 3" would answer a query for "Noonan syndrome" and count as wrong.
    """
    chosen: list[Condition] = []
    taken: set[frozenset[str]] = set()
    possible = [condition for condition in conditions if _facet_pair(condition)]
    for condition in sorted(possible, key=lambda c: digest_number(f"medquad topic:{c.name.casefold()}")):
        names = {frozenset(_WORD.findall(name.casefold())) for name in condition.names} - {frozenset()}
        if not any(words <= other or other <= words for words in names for other in taken):
            chosen.append(condition)
            taken |= names
        if len(chosen) == N_TOPICS:
            break
    return chosen


def _facet_pair(condition: Condition) -> tuple[str, str] | None:
    """Return the facet that is asked for first and later left out, and another; None where there are no two.

    A general page touches on everything, so it is never the one that a narrower instruction withdraws.
    """
    name = condition.name.casefold()
    facets = sorted(condition.pages, key=lambda facet: (facet == GENERAL, digest_number(f"{name}:{facet}")))
    for first in facets:
        for second in facets:
            if first != GENERAL and condition.tells_apart(first, second):
                return first, second
    return None


def _add_topic(draft: SuiteDraft, condition: Condition) -> None:
    pair = _facet_pair(condition)
    assert pair is not None, "only conditions with two facets are chosen"
    first, second = pair
    name = condition.name
    pages = {facet: [draft.document(i, text) for i, text in rows] for facet, rows in condition.pages.items()}
    every = [page for found in pages.values() for page in found]
    rest = [page for page in every if page not in pages[first]]
    text = wordings("facet")

    def wish(kind: str, facet: str, key: str) -> str:
        template: str = choose(text[kind], key)
        return template.format(facet=choose(text["names"][facet], f"{name}:{facet}"))

    def add(suffix: str, instruction: str, relevant: list[str], *, changes: tuple[str, str] | None = None) -> None:
        kind, original = changes or (None, None)
        query = SuiteQuery(
            id=f"{name}:{suffix}",
            topic=name,
            text=name,
            instruction=instruction,
            instruction_type=kind,
            original=f"{name}:{original}" if original else None,
        )
        draft.query(query, relevant)

    add("one", wish("only", first, name), pages[first])
    add("other", wish("only", second, f"{name}:other"), pages[second], changes=("facet", "one"))
    add("all", choose(text["all"], name), every)
    add("except", wish("except", first, name), rest, changes=("exclusion", "all"))
