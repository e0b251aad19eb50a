"""Several documents on one topic each, from three data sets: what the keyword and plain recipes are made of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from evaluation.suites import medquad
from evaluation.suites.splits import Split, split_of
from training.corpus.files import Quarantined
from training.corpus.recipes import msdocs_pages
from training.corpus.recipes.medquad import not_named_in
from training.corpus.recipes.msdocs_pages import Facet, Page, Passage, judge_facet
from training.corpus.recipes.records import Record, check_records, read_json, read_records
from training.corpus.recipes.splits import held_out_from
from training.corpus.recipes.terms import stems
from training.corpus.recipes.wordings import choose_phrase
from training.corpus.texts import normalized

FILES = ("medquad/medquad.jsonl.gz", "pubmedqa/ori_pqal.json.gz", f"msdocs/{msdocs_pages.FILE}")
"""What the topics are read from, below the directory of all data sets."""

_FEWEST_WORDS = 15
_TEMPLATE = "The Human Phenotype Ontology provides"
"""Some two thousand pages go on like this and differ in little from there."""

_NO_HEADINGS = frozenset({"in this section", "result", "instructions", "content", "contents", "documentation"})


@dataclass(frozen=True)
class Document:
    """A document on a topic; `question` is one that it answers, `unlike` names documents that answer another."""

    text: str
    question: str | None
    unlike: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Topic:
    """What one would search for, and documents on it; `number` is its place in the data set."""

    number: int
    name: str
    documents: tuple[Document, ...]
    source: str
    license: str
    domain: str


class _Question(Record):
    id: str
    focus: str
    synonyms: list[str]
    qtype: str
    question: str
    answer: str


class _Abstract(Record):
    QUESTION: str
    CONTEXTS: list[str]
    LONG_ANSWER: str


def read_topics(data: Path, split: Split, aside: list[Quarantined]) -> dict[str, list[Topic]]:
    """Return the topics of one split by data set."""
    pages = msdocs_pages.read_pages(data / "msdocs")
    aside.extend(pages.broken)
    return {
        "medquad": _conditions(data / "medquad", split, aside),
        "pubmedqa": _papers(data / "pubmedqa", split, aside),
        "msdocs": [_page_topic(number, page) for number, page in enumerate(pages.of[split], start=1)],
    }


def _conditions(directory: Path, split: Split, aside: list[Quarantined]) -> list[Topic]:
    """Return conditions with their pages; one that stands under several, of whatever split, is about none of them."""
    found = list(read_records(directory, "medquad.jsonl.gz", _Question, aside))
    questions = {question.id: question for question in found}
    rows = [question.model_dump() for question in found]
    conditions = {part: medquad.group_conditions(rows, part) for part in Split}
    every = chain.from_iterable(conditions.values())
    uses = Counter(normalized(text) for condition in every for _, text in _pages_of(condition))
    elsewhere = chain.from_iterable(conditions[part] for part in held_out_from(split))
    topics = []
    for condition in not_named_in(conditions[split], elsewhere):
        own = ((identifier, text) for identifier, text in _pages_of(condition) if uses[normalized(text)] == 1)
        pages = [(identifier, text) for identifier, text in own if len(text.split()) >= _FEWEST_WORDS]
        if pages:
            documents = tuple(
                Document(
                    text,
                    " ".join(questions[identifier].question.replace("(are)", "").split()).replace(" ?", "?"),
                    _unlike(condition, questions[identifier].qtype),
                )
                for identifier, text in pages
            )
            number = questions[pages[0][0]].place
            topics.append(Topic(number, condition.name, documents, "medquad", "CC BY 4.0", "medicine"))
    return topics


def _pages_of(condition: medquad.Condition) -> list[tuple[str, str]]:
    """Return the pages, (id, text), on a condition, without the template that many of them end with."""
    pages = (page for pages in condition.pages.values() for page in pages)
    return [(identifier, _without_template(text)) for identifier, text in pages]


def _without_template(text: str) -> str:
    return text.partition(_TEMPLATE)[0].strip()


def _unlike(condition: medquad.Condition, facet: str) -> frozenset[str]:
    """Return the pages on other facets; a general page touches on everything, so none is unlike it."""
    if facet == medquad.GENERAL:
        return frozenset()
    others = [other for other in condition.pages if other != medquad.GENERAL and condition.tells_apart(facet, other)]
    return frozenset(_without_template(text) for other in others for _, text in condition.pages[other])


def _papers(directory: Path, split: Split, aside: list[Quarantined]) -> list[Topic]:
    """Return papers with the parts of their abstracts; the conclusion answers the paper's question."""
    found: Mapping[str, object] = read_json(directory, "ori_pqal.json.gz")
    identifiers = list(found)
    topics = []
    for paper in check_records(found.values(), "ori_pqal.json.gz", _Abstract, aside):
        if split_of("pubmedqa", identifiers[paper.place - 1]) is split:
            parts = [*(Document(text, None) for text in paper.CONTEXTS), Document(paper.LONG_ANSWER, paper.QUESTION)]
            documents = tuple(part for part in parts if len(part.text.split()) >= _FEWEST_WORDS)
            topics.append(Topic(paper.place, paper.QUESTION, documents, "pubmedqa", "MIT", "biomedicine"))
    return topics


def _page_topic(number: int, page: Page) -> Topic:
    passages = [passage for passage in page.passages if passage.facet not in {Facet.RELATED, Facet.HIERARCHY}]
    documents = tuple(
        Document(passage.document, _section_query(passage, page), _unlike_passages(passage, passages))
        for passage in passages
    )
    return Topic(number, page.title, documents, "msdocs", "CC BY 4.0", "software documentation")


def _section_query(passage: Passage, page: Page) -> str | None:
    """Return what asks for a section of a page; None where it has no heading, or one of several such passages."""
    is_alone = sum(passage.section == other.section for other in page.passages) == 1
    is_readable = passage.is_prose or passage.facet is not None
    says_more = stems(passage.section) - stems(page.title)
    if not (is_alone and is_readable and says_more) or passage.section.casefold() in _NO_HEADINGS:
        return None
    section = passage.section if passage.facet is None else passage.section.casefold()
    text = choose_phrase("plain.phrases.section", f"{page.path}:{passage.section}")
    return text.format(title=page.title, section=section)


def _unlike_passages(passage: Passage, passages: Sequence[Passage]) -> frozenset[str]:
    if passage.facet is None:
        return frozenset()
    apart = (other for other in passages if other.facet and judge_facet(passage, other.facet) is False)
    return frozenset(other.document for other in apart if judge_facet(other, passage.facet) is False)
