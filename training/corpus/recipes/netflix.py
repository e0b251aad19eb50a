"""Netflix titles: what to watch about a theme, and wishes about country, year, audience, format, genre and people."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from evaluation.suites.draft import choose, digest_number
from evaluation.suites.splits import Split, split_of
from training.corpus.files import Quarantined
from training.corpus.recipes.netflix_titles import FILE, Title, listing, read_titles
from training.corpus.recipes.netflix_wishes import FACETS
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.wishes import Attribute, Wish, rotated, telling_apart
from training.corpus.recipes.wordings import choose_phrase, choose_wording
from training.corpus.rows import InstructionType

_MOST_PEERS = 60
_MOST_SEARCHED = 2000
_EXCLUSIONS_OF_TEN = 5
_CONJUNCTIONS_OF_TEN = 2
_PLURALS = {
    "comedy": "comedies",
    "documentary": "documentaries",
    "drama": "dramas",
    "mystery": "mysteries",
    "thriller": "thrillers",
}


class _Subject(NamedTuple):
    """What one searches for: a theme of the description, or one or two genres."""

    name: str
    genres: tuple[str, ...] = ()

    def is_shown_by(self, title: Title) -> bool:
        return set(self.genres) <= set(title.genres) if self.genres else self.name in title.themes

    def query(self, key: str, split: Split) -> str:
        kind = "genre" if self.genres else "theme"
        return choose_wording(f"netflix.query.{kind}", key, split).format(**{kind: self.name})


class _Opposition(NamedTuple):
    """Two titles on one subject, and wishes that tell one from the other: `shared` both fulfil."""

    peer: Title
    shared: Wish[Title] | None
    wanted: Wish[Title]
    unwanted: Wish[Title]


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    titles = [title for title in read_titles(directory, aside) if split_of(RECIPE.name, title.name.casefold()) is split]
    yield from aside
    shelf = _Shelf(titles)
    for number, title in enumerate(titles, start=1):
        row = _row(number, title, shelf, split)
        if row is not None:
            yield row


def _row(number: int, title: Title, shelf: "_Shelf", split: Split) -> Found | None:
    key = title.name
    subject = choose(_subjects(title), key)
    opposition = _oppose(title, shelf.titles_on(subject, key), key)
    if opposition is None:
        return None
    peer, shared, wanted, unwanted = opposition
    other = shelf.another(title, subject, [wanted, *([shared] if shared else [])], key)
    return make_row(
        number,
        query_positive=subject.query(key, split),
        instruction_positive=_instruction(wanted, shared, key, split),
        document_positive=title.document,
        query_negative=other.subject.query(f"{key}:other", split) if other else None,
        instruction_negative=_instruction(unwanted, shared, f"{key}:opposite", split),
        hard_negative_document_1=peer.document,
        hard_negative_document_2=other.title.document if other else None,
        source=RECIPE.name,
        instruction_type=InstructionType.CONJUNCTION if shared else wanted.type,
        license=RECIPE.license,
        domain="film and television",
    )


def _subjects(title: Title) -> list[_Subject]:
    """Return what one would search to find a title: its themes, or its genres where it shows no theme."""
    genres = title.genres[:2]
    return [_Subject(theme) for theme in sorted(title.themes)] or [_Subject(_searched(genres), genres)]


def _searched(genres: tuple[str, ...]) -> str:
    """Return genres as one searches for them: one in the plural, two as they are called."""
    return _PLURALS.get(genres[0], genres[0]) if len(genres) == 1 else listing(genres)


def _oppose(title: Title, peers: Sequence[Title], key: str) -> _Opposition | None:
    """Find the first peer that a wish of some facet tells from `title`, and that the opposite wish would find."""
    for facet in sorted(FACETS, key=lambda facet: digest_number(f"{key}:{facet}")):
        for peer in peers:
            wishes = telling_apart(title, peer, FACETS[facet])
            opposite = telling_apart(peer, title, FACETS[facet])
            if wishes and opposite and peer.document != title.document:
                shared = _shared_wish(title, peer, facet, key)
                return _Opposition(peer, shared, _choose_wish(wishes, key), _choose_wish(opposite, f"{key}:opposite"))
    return None


def _choose_wish(wishes: Sequence[Wish[Title]], key: str) -> Wish[Title]:
    """Choose a wish; exclusions as often as inclusions where there are both."""
    is_exclusion = digest_number(f"{key}:exclusion") % 10 < _EXCLUSIONS_OF_TEN
    return choose([wish for wish in wishes if wish.is_wanted is not is_exclusion] or wishes, f"{key}:wish")


def _shared_wish(title: Title, peer: Title, facet: str, key: str) -> Wish[Title] | None:
    """Return, for one row in five, a wish about another facet that both titles fulfil."""
    if digest_number(f"{key}:conjunction") % 10 >= _CONJUNCTIONS_OF_TEN:
        return None
    found: list[Attribute[Title]] = [
        attribute
        for other, attributes in FACETS.items()
        for attribute in attributes(title)
        if other != facet and attribute.judge(title) is attribute.judge(peer) is True
    ]
    return Wish(choose(found, f"{key}:shared"), is_wanted=True) if found else None


def _instruction(wish: Wish[Title], shared: Wish[Title] | None, key: str, split: Split) -> str:
    if shared is None:
        return wish.instruction(key, split)
    first, second = sorted((_predicate(shared, key), _predicate(wish, key)), key=digest_number)
    return choose_wording("netflix.conjunction.both", key, split).format(first=first, second=second)


def _predicate(wish: Wish[Title], key: str) -> str:
    section = f"netflix.phrases.predicate.{wish.attribute.facet}.{'only' if wish.is_wanted else 'except'}"
    return choose_phrase(section, key).format(**wish.attribute.slots)


@dataclass(frozen=True)
class _Placed:
    subject: _Subject
    title: Title


class _Shelf:
    """The titles of one split by subject."""

    def __init__(self, titles: Sequence[Title]) -> None:
        self._by_subject: dict[_Subject, list[Title]] = defaultdict(list)
        for title in titles:
            for subject in _subjects(title):
                self._by_subject[subject].append(title)
        self._subjects = sorted(self._by_subject)

    def titles_on(self, subject: _Subject, key: str) -> list[Title]:
        return rotated(self._by_subject[subject], key)[:_MOST_PEERS]

    def another(self, title: Title, subject: _Subject, wishes: Sequence[Wish[Title]], key: str) -> _Placed | None:
        """Return a title on another subject that fulfils the same wishes; neither title is on both subjects."""
        return next(
            (
                placed
                for placed in islice(self._others(title, subject, key), _MOST_SEARCHED)
                if all(wish.is_fulfilled_by(placed.title) for wish in wishes)
            ),
            None,
        )

    def _others(self, title: Title, subject: _Subject, key: str) -> Iterator[_Placed]:
        for other in rotated(self._subjects, f"{key}:other"):
            if not other.is_shown_by(title):
                for candidate in self.titles_on(other, key):
                    if not subject.is_shown_by(candidate):
                        yield _Placed(other, candidate)


RECIPE = Recipe(
    name="netflix",
    folder="netflix",
    files=(FILE,),
    license="CC0",
    origin="https://www.kaggle.com/datasets/shivamb/netflix-shows",
    rows=_rows,
)
