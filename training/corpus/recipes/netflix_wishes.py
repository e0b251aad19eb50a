"""What one may wish of a film or series, facet by facet: what a title has, and how it is judged."""

from collections.abc import Callable, Iterator, Mapping

from evaluation.suites.draft import choose
from training.corpus.recipes.netflix_titles import Audience, Title
from training.corpus.recipes.wishes import Attribute
from training.corpus.recipes.wordings import choose_phrase
from training.corpus.rows import InstructionType

_FILM_LENGTHS: Mapping[str, Callable[[int], bool]] = {
    "run less than 90 minutes": lambda minutes: minutes < 90,
    "run less than 100 minutes": lambda minutes: minutes < 100,
    "run longer than 100 minutes": lambda minutes: minutes > 100,
    "run longer than two hours": lambda minutes: minutes > 120,
}
_SERIES_LENGTHS: Mapping[str, Callable[[int], bool]] = {
    "have a single season": lambda seasons: seasons == 1,
    "have more than one season": lambda seasons: seasons > 1,
    "have three or more seasons": lambda seasons: seasons >= 3,
}


def _attribute(
    facet: str, type_: InstructionType, judge: Callable[[Title], bool | None], *, only: str = "only", **slots: str
) -> Attribute[Title]:
    return Attribute(f"netflix.{facet}.{only}", f"netflix.{facet}.except", slots, type_, judge, facet)


def _places(title: Title) -> Iterator[Attribute[Title]]:
    for country in title.countries:
        yield _attribute(
            "place", InstructionType.PLACE, lambda other, country=country: country in other.countries, country=country
        )


def _times(title: Title) -> Iterator[Attribute[Title]]:
    year = title.year
    decade = year // 10 * 10
    before, after = (year // 5 + 1) * 5, year // 5 * 5 - 1
    periods: dict[str, Callable[[int], bool]] = {
        f"in {year}": lambda y: y == year,
        f"in the {decade}s": lambda y: y // 10 * 10 == decade,
        f"before {before}": lambda y: y < before,
        f"after {after}": lambda y: y > after,
        f"between {year - 2} and {year + 1}": lambda y: year - 2 <= y <= year + 1,
    }
    for period, holds in periods.items():
        yield _attribute("time", InstructionType.TIME, lambda other, holds=holds: holds(other.year), period=period)


def _audiences(title: Title) -> Iterator[Attribute[Title]]:
    """FAMILY is asked for by nobody; what children may see is no wrong answer to a wish for teenagers."""
    if title.audience is Audience.FAMILY:
        return
    name = choose_phrase(f"netflix.phrases.audience.{title.audience}", title.name)
    yield _attribute(
        "audience",
        InstructionType.AUDIENCE,
        lambda other: _judge_audience(other.audience, title.audience),
        only=title.audience,
        audience=name,
    )


def _judge_audience(found: Audience, asked: Audience) -> bool | None:
    if found is asked:
        return True
    is_unclear = found is Audience.FAMILY or {found, asked} == {Audience.CHILDREN, Audience.TEENS}
    return None if is_unclear else False


def _formats(title: Title) -> Iterator[Attribute[Title]]:
    kind = "film" if title.is_film else "series"
    yield _attribute(
        "format",
        InstructionType.FORMAT,
        lambda other: other.is_film is title.is_film,
        only=kind,
        kind=choose_phrase(f"netflix.phrases.kind.{kind}", title.name),
    )


def _lengths(title: Title) -> Iterator[Attribute[Title]]:
    """Minutes of films and seasons of series do not compare."""
    for length, holds in (_FILM_LENGTHS if title.is_film else _SERIES_LENGTHS).items():
        if holds(title.length):
            yield _attribute(
                "length",
                InstructionType.FORMAT,
                lambda other, holds=holds: holds(other.length) if other.is_film is title.is_film else None,
                length=length,
            )


def _genres(title: Title) -> Iterator[Attribute[Title]]:
    for genre in title.genres:
        yield _attribute(
            "genre", InstructionType.INCLUSION, lambda other, genre=genre: _judge_genre(other, genre), genre=genre
        )


def _judge_genre(title: Title, genre: str) -> bool | None:
    """Tell whether a title is of a genre; where only its description names the genre, one cannot say."""
    if genre in title.genres:
        return True
    return None if genre[:6] in title.description.casefold() else False


def _people(title: Title) -> Iterator[Attribute[Title]]:
    if title.named:
        person = choose(title.named, title.name)
        yield _attribute("person", InstructionType.INCLUSION, lambda other: _judge_person(other, person), person=person)


def _judge_person(title: Title, person: str) -> bool | None:
    """Tell whether a person took part; documents give the first names of a long list only."""
    if person in title.named:
        return True
    return None if person in title.people or not title.people else False


FACETS: Mapping[str, Callable[[Title], Iterator[Attribute[Title]]]] = {
    "place": _places,
    "time": _times,
    "audience": _audiences,
    "format": _formats,
    "length": _lengths,
    "genre": _genres,
    "person": _people,
}
"""Facet to what a title has of it."""
