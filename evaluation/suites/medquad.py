"""MedQuAD: one condition, several pages, and instructions that ask for one facet of it or leave one out."""

import re
from pathlib import Path

from evaluation.suites.draft import SuiteDraft, choose, digest_number, wordings
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.sources import read_jsonl
from evaluation.suites.splits import Split, split_of

SOURCE = "medquad"
N_TOPICS = 250
_LEADING_QUESTION = re.compile(r"^[^.?!]{1,200}\?\s*")
_LONGEST_WORDS = 200


def build(directory: Path, *, split: Split = Split.TEST) -> Suite:
    """Build the suite of one split; a topic is a condition, the query its name."""
    topics = _pages_by_facet(directory, split)
    chosen = sorted(topics, key=lambda focus: digest_number(f"medquad topic:{focus}"))[:N_TOPICS]
    draft = SuiteDraft()
    for focus in chosen:
        _add_topic(draft, focus, topics[focus])
    info = SuiteInfo(name="medquad-facet", licence="CC BY 4.0", source="MedQuAD, abachaa/MedQuAD", split=split)
    return draft.finish(info)


def _pages_by_facet(directory: Path, split: Split) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """Group (id, text) by condition and facet; conditions with one facet cannot tell facets apart and are left out."""
    known = wordings("facet")["names"]
    topics: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for row in read_jsonl(directory, "medquad.jsonl.gz"):
        focus = row["focus"].strip()
        if row["qtype"] not in known or not focus or split_of(SOURCE, focus.casefold()) is not split:
            continue
        text = _without_leading_question(row["answer"])
        if text:
            topics.setdefault(focus, {}).setdefault(row["qtype"], []).append((row["id"], text))
    return {focus: facets for focus, facets in topics.items() if len(facets) > 1}


def _without_leading_question(answer: str) -> str:
    """Many answers begin by repeating the question, which gives them away."""
    text = " ".join(answer.split()[:_LONGEST_WORDS])
    return _LEADING_QUESTION.sub("", text, count=1)


def _add_topic(draft: SuiteDraft, focus: str, facets: dict[str, list[tuple[str, str]]]) -> None:
    pages = {facet: [draft.document(i, text) for i, text in rows] for facet, rows in facets.items()}
    first, second = sorted(pages, key=lambda facet: digest_number(f"{focus}:{facet}"))[:2]
    every = [page for found in pages.values() for page in found]
    rest = [page for page in every if page not in pages[first]]
    if not rest or not set(pages[first]) - set(pages[second]):
        return
    text = wordings("facet")

    def named(facet: str) -> str:
        return choose(text["names"][facet], f"{focus}:{facet}")

    def query(suffix: str, instruction: str, kind: str | None = None, original: str | None = None) -> SuiteQuery:
        return SuiteQuery(
            id=f"{focus}:{suffix}",
            topic=focus,
            text=focus,
            instruction=instruction,
            instruction_type=kind,
            original=f"{focus}:{original}" if original else None,
        )

    draft.query(query("one", choose(text["only"], focus).format(facet=named(first))), pages[first])
    draft.query(
        query("other", choose(text["only"], f"{focus}:other").format(facet=named(second)), "facet", "one"),
        pages[second],
    )
    draft.query(query("all", choose(text["all"], focus)), every)
    draft.query(
        query("except", choose(text["except"], focus).format(facet=named(first)), "exclusion", "all"),
        rest,
    )
