"""Keywords: of two documents on one topic, a salient term that one has and the other lacks; asked for, and left out.

Any corpus of topics with several documents each would do, so there is no end to such rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, permutations
from pathlib import Path
from typing import NamedTuple

from evaluation.suites.draft import choose, digest_number
from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.terms import Terms, judge_term, stems, surface
from training.corpus.recipes.topics import FILES, Topic, read_topics
from training.corpus.recipes.wishes import Attribute, Wish, rotated, telling_apart
from training.corpus.recipes.wordings import choose_wording
from training.corpus.rows import InstructionType

_MOST_TOPICS = {Split.TRAIN: 3000, Split.DEV: 300, Split.TEST: 450}
"""Of one data set."""

_ROWS_PER_TOPIC = 3
_MOST_SEARCHED = 300
_EXCLUSIONS_OF_TEN = 6
_CONJUNCTIONS_OF_TEN = 3
_LONGEST_WORDS = 200
_SHORTEST_WORDS = 15


class _Text(NamedTuple):
    """A document with the terms that mark it, and the name of its topic."""

    text: str
    terms: tuple[str, ...]
    topic: str


@dataclass(frozen=True)
class _Demand:
    """One wish, or two: a term that must be there and another that must not."""

    wishes: tuple[Wish[_Text], ...]

    @property
    def type(self) -> InstructionType:
        return self.wishes[0].type if len(self.wishes) == 1 else InstructionType.CONJUNCTION

    def is_met_by(self, text: _Text) -> bool:
        return all(wish.is_fulfilled_by(text) for wish in self.wishes)

    def instruction(self, key: str, split: Split) -> str:
        if len(self.wishes) == 1:
            return self.wishes[0].instruction(key, split)
        first, second = (wish.attribute.slots["term"] for wish in self.wishes)
        return choose_wording("keyword.both", key, split).format(first=first, second=second)


def _rows(data: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    topics_of = {source: _chosen(topics, split) for source, topics in read_topics(data, split, aside).items()}
    for topics in topics_of.values():
        fields = {topic.domain for topic in topics}
        others = chain.from_iterable(topics_of.values())
        elsewhere = [text for topic in others if _is_far(topic.domain, fields) for text in _texts(topic)]
        shelf = _Shelf(topics, elsewhere, split)
        for topic in topics:
            yield from shelf.rows(topic)
    yield from aside


def _chosen(topics: Sequence[Topic], split: Split) -> list[Topic]:
    fitting = [topic for topic in topics if len(_texts(topic)) > 1]
    by_digest = sorted(fitting, key=lambda topic: digest_number(f"keyword topic:{topic.source}:{topic.name}"))
    return by_digest[: _MOST_TOPICS[split]]


def _is_far(domain: str, domains: AbstractSet[str]) -> bool:
    """Tell whether two fields share no vocabulary: medicine and biomedicine do."""
    return not any(domain.endswith(other) or other.endswith(domain) for other in domains)


def _texts(topic: Topic) -> list[str]:
    texts = dict.fromkeys(" ".join(document.text.split()[:_LONGEST_WORDS]) for document in topic.documents)
    return [text for text in texts if len(text.split()) >= _SHORTEST_WORDS]


class _Shelf:
    """The topics of one data set and split, with the terms that mark their documents."""

    def __init__(self, topics: Sequence[Topic], elsewhere: Iterable[str], split: Split) -> None:
        self._split = split
        self._owned = [(topic, text) for topic in topics for text in _texts(topic)]
        self._terms = Terms([text for _, text in self._owned], elsewhere)

    def rows(self, topic: Topic) -> Iterator[Found]:
        texts = [self._marked(topic, text) for text in _texts(topic)]
        pairs = sorted(permutations(texts, 2), key=lambda pair: digest_number(f"{pair[0].text}:{pair[1].text}"))
        rows = (self._row(topic, right, wrong, f"{topic.source}:{topic.name}:{right.text}") for right, wrong in pairs)
        yield from islice((row for row in rows if row is not None), _ROWS_PER_TOPIC)

    def _marked(self, topic: Topic, text: str) -> _Text:
        """Return a document with its terms, but none that the query names already."""
        named = stems(topic.name)
        return _Text(text, tuple(term for term in self._terms.salient(text) if not stems(term) & named), topic.name)

    def _row(self, topic: Topic, right: _Text, wrong: _Text, key: str) -> Found | None:
        has_two = digest_number(f"{key}:conjunction") % 10 < _CONJUNCTIONS_OF_TEN
        wanted = _demand(right, wrong, key, has_two=has_two)
        unwanted = _demand(wrong, right, f"{key}:opposite", has_two=has_two)
        if wanted is None or unwanted is None:
            return None
        other = self._another(topic, wanted, key)
        return make_row(
            topic.number,
            query_positive=topic.name,
            instruction_positive=wanted.instruction(key, self._split),
            document_positive=right.text,
            query_negative=other.topic if other else None,
            instruction_negative=unwanted.instruction(f"{key}:opposite", self._split),
            hard_negative_document_1=wrong.text,
            hard_negative_document_2=other.text if other else None,
            source=f"{RECIPE.name}:{topic.source}",
            instruction_type=wanted.type,
            license=topic.license,
            domain=topic.domain,
        )

    def _another(self, topic: Topic, demand: _Demand, key: str) -> _Text | None:
        """Return a document on another topic that meets the demand; one that shares the term where it asks for one."""
        named = stems(topic.name)
        wanted = [wish.attribute.slots["term"].casefold() for wish in demand.wishes if wish.is_wanted]
        sharing = [self._owned[number] for term in wanted for number in self._terms.documents_with(term)]
        candidates = rotated(sharing if wanted else self._owned, key)[:_MOST_SEARCHED]
        texts = (_Text(text, (), other.name) for other, text in candidates if not named & stems(other.name))
        return next((text for text in texts if demand.is_met_by(text)), None)


def _demand(right: _Text, wrong: _Text, key: str, *, has_two: bool) -> _Demand | None:
    """Choose what tells two documents apart: a term of the one, a term of the other, or both."""
    wishes = telling_apart(right, wrong, _attributes)
    by_polarity = [[wish for wish in wishes if wish.is_wanted is is_wanted] for is_wanted in (True, False)]
    wanted, unwanted = (choose(found, f"{key}:wish") if found else None for found in by_polarity)
    if has_two and wanted and unwanted:
        return _Demand((wanted, unwanted))
    is_exclusion = digest_number(f"{key}:exclusion") % 10 < _EXCLUSIONS_OF_TEN
    chosen = (unwanted or wanted) if is_exclusion else (wanted or unwanted)
    return _Demand((chosen,)) if chosen else None


def _attributes(text: _Text) -> Iterator[Attribute[_Text]]:
    for term in text.terms:
        yield Attribute(
            "keyword.include",
            "keyword.exclude",
            {"term": surface(text.text, term)},
            InstructionType.INCLUSION,
            partial(_mentions, term),
        )


def _mentions(term: str, text: _Text) -> bool | None:
    return judge_term(text.text, term)


RECIPE = Recipe(
    name="keyword",
    folder=".",
    files=FILES,
    license="CC BY 4.0, MIT",
    origin="https://github.com/abachaa/MedQuAD, https://github.com/pubmedqa/pubmedqa, https://github.com/MicrosoftDocs",
    rows=_rows,
)
