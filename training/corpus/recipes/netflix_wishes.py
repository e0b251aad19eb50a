"""What one may wish of a film or series, facet by facet: what a title has, and how it is judged."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from evaluation.suites.draft import choose
from training.corpus.recipes.netflix_titles import Audience, Title
from training.corpus.recipes.wishes import Attribute
from training.corpus.recipes.wordings import choose_phrase
from training.corpus.rows import InstructionType

_END_OF_TIME = 10_000
_FILM_LENGTHS = {
    "run less than 90 minutes": range(90),
    "run less than 100 minutes": range(100),
    "run longer than 100 minutes": range(101, _END_OF_TIME),
    "run longer than two hours": range(121, _END_OF_TIME),
}
_SERIES_LENGTHS = {
    "have a single season": range(1, 2),
    "have more than one season": range(2, _END_OF_TIME),
    "have three or more seasons": range(3, _END_OF_TIME),
}


def _attribute(
    facet: str, type_: InstructionType, judge: Callable[[Title], bool | None], *, only: str = "only", **slots: str
) -> Attribute[Title]:
    return Attribute(f"netflix.{facet}.{only}", f"netflix.{facet}.except", slots, type_, judge, facet)


def _places(title: Title) -> Iterator[Attribute[Title]]:
    for country in title.countries:
        yield _attribute("place", InstructionType.PLACE, partial(_is_from, country), country=country)


def _is_from(country: str, title: Title) -> bool:
    return country in title.countries


def _times(title: Title) -> Iterator[Attribute[Title]]:
    year = title.year
    decade = year // 10 * 10
    before, after = (year // 5 + 1) * 5, year // 5 * 5 - 1
    periods = {
        f"in {year}": range(year, year + 1),
        f"in the {decade}s": range(decade, decade + 10),
        f"before {before}": range(before),
        f"after {after}": range(after + 1, _END_OF_TIME),
        f"between {year - 2} and {year + 1}": range(year - 2, year + 2),
    }
    for period, years in periods.items():
        yield _attribute("time", InstructionType.TIME, partial(_came_out, years), period=period)


def _came_out(years: range, title: Title) -> bool:
    return title.year in years


def _audiences(title: Title) -> Iterator[Attribute[Title]]:
    if title.audience is not Audience.FAMILY:
        name = choose_phrase(f"netflix.phrases.audience.{title.audience}", title.name)
        judge = partial(_is_for, title.audience)
        yield _attribute("audience", InstructionType.AUDIENCE, judge, only=title.audience, audience=name)


def _is_for(asked: Audience, title: Title) -> bool | None:
    """Tell whom a title is for; parents decide on FAMILY, and what children may see is not wrong for teenagers."""
    if title.audience is asked:
        return True
    is_unclear = title.audience is Audience.FAMILY or {title.audience, asked} == {Audience.CHILDREN, Audience.TEENS}
    return None if is_unclear else False


def _formats(title: Title) -> Iterator[Attribute[Title]]:
    only = "film" if title.is_film else "series"
    kind = choose_phrase(f"netflix.phrases.kind.{only}", title.name)
    yield _attribute("format", InstructionType.FORMAT, partial(_has_format, title.is_film), only=only, kind=kind)


def _has_format(is_film: bool, title: Title) -> bool:
    return title.is_film is is_film


def _lengths(title: Title) -> Iterator[Attribute[Title]]:
    for length, numbers in (_FILM_LENGTHS if title.is_film else _SERIES_LENGTHS).items():
        if title.length in numbers:
            judge = partial(_has_length, numbers, title.is_film)
            yield _attribute("length", InstructionType.FORMAT, judge, length=length)


def _has_length(numbers: range, is_film: bool, title: Title) -> bool | None:
    """Tell whether a title is of a length; minutes of films and seasons of series do not compare."""
    return title.length in numbers if title.is_film is is_film else None


def _genres(title: Title) -> Iterator[Attribute[Title]]:
    for genre in title.genres:
        yield _attribute("genre", InstructionType.INCLUSION, partial(_is_of_genre, genre), genre=genre)


def _is_of_genre(genre: str, title: Title) -> bool | None:
    """Tell whether a title is of a genre; where only its description names the genre, one cannot say."""
    if genre in title.genres:
        return True
    return None if genre[:6] in title.description.casefold() else False


def _people(title: Title) -> Iterator[Attribute[Title]]:
    if title.named:
        person = choose(title.named, title.name)
        yield _attribute("person", InstructionType.INCLUSION, partial(_has_person, person), person=person)


def _has_person(person: str, title: Title) -> bool | None:
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
