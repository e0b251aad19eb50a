"""PubMedQA: the sections of an abstract, asked for or left out; passages with figures or without."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from evaluation.suites.draft import choose, digest_number
from evaluation.suites.splits import Split, split_of
from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.records import Record, check_records, read_json
from training.corpus.recipes.wordings import choose_phrase, choose_wording
from training.corpus.rows import InstructionType

_FILE = "ori_pqal.json.gz"
_LICENSE = "MIT"
_SECTIONS = {
    "background": {"BACKGROUND", "INTRODUCTION", "CONTEXT", "SUMMARY OF BACKGROUND DATA"},
    "objective": {"OBJECTIVE", "OBJECTIVES", "PURPOSE", "PURPOSES", "AIM", "AIMS", "STUDY OBJECTIVE", "HYPOTHESIS"},
    "methods": {
        "METHODS",
        "METHOD",
        "METHODOLOGY",
        "DESIGN",
        "STUDY DESIGN",
        "MATERIALS AND METHODS",
        "MATERIAL AND METHODS",
        "PATIENTS AND METHODS",
        "METHODS AND MATERIALS",
        "RESEARCH DESIGN AND METHODS",
        "SUBJECTS AND METHODS",
    },
    "results": {"RESULTS", "RESULT", "FINDINGS", "PRINCIPAL FINDINGS", "MAIN RESULTS"},
}
_SECTION_OF = {label: section for section, labels in _SECTIONS.items() for label in labels}
_CONCLUSION = "conclusion"
_OVERLAPPING = ({"background", "objective"}, {"results", _CONCLUSION})
"""Sections that often say each other's thing: one must not withdraw the other."""

_ROWS_PER_PAPER = 2
_ANY_STUDY = frozenset(
    {
        "Adolescent",
        "Adult",
        "Aged",
        "Aged, 80 and over",
        "Algorithms",
        "Analysis of Variance",
        "Animals",
        "Child",
        "Child, Preschool",
        "Cohort Studies",
        "Cross-Sectional Studies",
        "Female",
        "Follow-Up Studies",
        "Humans",
        "Infant",
        "Infant, Newborn",
        "Male",
        "Middle Aged",
        "Prospective Studies",
        "Retrospective Studies",
        "Young Adult",
    }
)
"""Subject headings that say nothing about the question."""

_FEWEST_HEADINGS = 2
_MOST_HEADINGS = 4
_TRIES = 20
_FEWEST_WORDS = 8
_MANY_NUMBERS = 6
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class _Abstract(Record):
    QUESTION: str
    CONTEXTS: list[str]
    LABELS: list[str]
    LONG_ANSWER: str
    MESHES: list[str]


@dataclass(frozen=True)
class _Paper:
    """A question, and the text of each section of the paper that answers it."""

    id: str
    abstract: _Abstract
    sections: dict[str, str]

    def pairs(self) -> list[tuple[str, str]]:
        """Return ordered pairs of sections that differ in what they say, in the order of their digests."""
        found = [pair for pair in permutations(self.sections, 2) if set(pair) not in _OVERLAPPING]
        return sorted(found, key=lambda pair: digest_number(f"{self.id}:{pair}"))

    def query(self, key: str) -> str:
        """Return the question, or every third time the paper's subject headings."""
        headings = [heading for heading in self.abstract.MESHES if heading not in _ANY_STUDY]
        if len(headings) >= _FEWEST_HEADINGS and digest_number(f"query:{key}") % 3 == 0:
            return ", ".join(headings[:_MOST_HEADINGS])
        return self.abstract.QUESTION


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    found = read_json(directory, _FILE)
    identifiers = list(found)
    papers = [
        _Paper(identifiers[abstract.place - 1], abstract, _sections(abstract))
        for abstract in check_records(found.values(), _FILE, _Abstract, aside)
        if split_of("pubmedqa", identifiers[abstract.place - 1]) is split
    ]
    shelf = _Shelf(papers, split)
    for paper in papers:
        yield from shelf.rows(paper)
    yield from aside


def _sections(abstract: _Abstract) -> dict[str, str]:
    """Join the parts of an abstract that belong to one section; parts of no known section are left out."""
    parts: dict[str, list[str]] = {}
    for label, text in zip(abstract.LABELS, abstract.CONTEXTS, strict=False):
        if section := _SECTION_OF.get(label):
            parts.setdefault(section, []).append(text)
    parts[_CONCLUSION] = [abstract.LONG_ANSWER]
    joined = {section: " ".join(texts) for section, texts in parts.items()}
    return {section: text for section, text in joined.items() if len(text.split()) >= _FEWEST_WORDS}


class _Shelf:
    """The papers of a split, and the rows that each gives rise to."""

    def __init__(self, papers: Sequence[_Paper], split: Split) -> None:
        self.papers = papers
        self._split = split

    def rows(self, paper: _Paper) -> Iterator[Found]:
        """Yield the rows of one paper."""
        pairs = paper.pairs()
        for first, second in pairs[:_ROWS_PER_PAPER]:
            yield self._only(paper, first, second)
        for first, second in pairs[-_ROWS_PER_PAPER:]:
            yield self._except(paper, first, second)
        for first, second in pairs[_ROWS_PER_PAPER:][:1]:
            yield self._without(paper, first, second)
        yield from self._figures(paper)

    def _only(self, paper: _Paper, first: str, second: str) -> Found:
        key = f"only:{paper.id}:{first}:{second}"
        wish = self._wording("only", f"{key}:+", facet=first)
        opposite = self._wording("only", f"{key}:-", facet=second)
        return self._row(paper, (first, wish), (second, opposite), InstructionType.FACET, key=key)

    def _except(self, paper: _Paper, first: str, second: str) -> Found:
        """Leave `first` out; the opposite leaves `second` out, or asks for `first` by name."""
        key = f"except:{paper.id}:{first}:{second}"
        wish = self._wording("except", f"{key}:+", facet=first)
        if digest_number(f"opposite:{key}") % 2:
            opposite = self._wording("except", f"{key}:-", facet=second)
        else:
            opposite = self._wording("only", f"{key}:-", facet=first)
        return self._row(paper, (second, wish), (first, opposite), InstructionType.EXCLUSION, key=key)

    def _without(self, paper: _Paper, first: str, second: str) -> Found:
        key = f"without:{paper.id}:{first}:{second}"
        wish = self._wording("without", f"{key}:+", facet=first, other=second)
        opposite = self._wording("without", f"{key}:-", facet=second, other=first)
        return self._row(paper, (first, wish), (second, opposite), InstructionType.CONJUNCTION, key=key)

    def _figures(self, paper: _Paper) -> Iterator[Found]:
        """Ask for text with figures or without, where a paper has a section of each sort."""
        numbers = {section: len(_NUMBER.findall(text)) for section, text in paper.sections.items()}
        most = max(numbers, key=lambda section: numbers[section])
        fewest = min(numbers, key=lambda section: numbers[section])
        if numbers[most] < _MANY_NUMBERS or numbers[fewest] > 0:
            return
        key = f"figures:{paper.id}"
        sides = [(most, self._wording("figures", key)), (fewest, self._wording("words", key))]
        wanted, opposite = sides if digest_number(key) % 2 else sides[::-1]
        yield self._row(paper, wanted, opposite, InstructionType.FORMAT, key=key, has_other=False)

    def _row(
        self,
        paper: _Paper,
        wanted: tuple[str, str],
        opposite: tuple[str, str],
        kind: InstructionType,
        *,
        key: str,
        has_other: bool = True,
    ) -> Found:
        """Make a row of two (section, instruction) of a paper, and the first section of another paper."""
        section, instruction = wanted
        other = self._other(paper, section, key) if has_other else None
        return make_row(
            paper.abstract.place,
            query_positive=paper.query(key),
            instruction_positive=instruction,
            document_positive=paper.sections[section],
            instruction_negative=opposite[1],
            hard_negative_document_1=paper.sections[opposite[0]],
            query_negative=other.query(f"{key}:other") if other else None,
            hard_negative_document_2=other.sections[section] if other else None,
            source="pubmedqa",
            instruction_type=kind,
            license=_LICENSE,
            domain="biomedicine",
        )

    def _other(self, paper: _Paper, section: str, key: str) -> _Paper | None:
        """Choose another paper with a section."""
        for turn in range(_TRIES):
            other = choose(self.papers, f"{key}:{turn}")
            if other is not paper and section in other.sections:
                return other
        return None

    def _wording(self, kind: str, key: str, **sections: str) -> str:
        names = {place: choose_phrase(f"paper.phrases.{name}", f"{key}:{place}") for place, name in sections.items()}
        text = choose_wording(f"paper.{kind}", key, self._split).format(**names)
        return text[0].upper() + text[1:]


RECIPE = Recipe(
    name="pubmedqa",
    folder="pubmedqa",
    files=(_FILE,),
    license=_LICENSE,
    origin="https://github.com/pubmedqa/pubmedqa",
    rows=_rows,
)
