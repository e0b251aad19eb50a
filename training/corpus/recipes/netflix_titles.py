"""Films and series, and the documents that tell about them in prose."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from evaluation.suites.sources import read_text
from training.corpus.files import Quarantined
from training.corpus.recipes.netflix_themes import themes_of
from training.corpus.recipes.records import Record, check_records
from training.corpus.recipes.wordings import choose_phrase

FILE = "netflix_titles.csv.gz"
_NAMED_DIRECTORS = 2
_NAMED_CAST = 5
_WITH_ARTICLE = frozenset(
    {
        "Bahamas",
        "Czech Republic",
        "Dominican Republic",
        "Netherlands",
        "Philippines",
        "Soviet Union",
        "United Arab Emirates",
        "United Kingdom",
        "United States",
    }
)
_GENRES = {
    "Action & Adventure": "action and adventure",
    "Anime Features": "anime",
    "Anime Series": "anime",
    "Children & Family Movies": "family entertainment",
    "Comedies": "comedy",
    "Crime TV Shows": "crime",
    "Documentaries": "documentary",
    "Docuseries": "documentary",
    "Dramas": "drama",
    "Faith & Spirituality": "faith and spirituality",
    "Horror Movies": "horror",
    "Kids' TV": "family entertainment",
    "Music & Musicals": "music and musicals",
    "Reality TV": "reality television",
    "Romantic Movies": "romance",
    "Romantic TV Shows": "romance",
    "Sci-Fi & Fantasy": "science fiction and fantasy",
    "Sports Movies": "sport",
    "Stand-Up Comedy": "stand-up comedy",
    "Stand-Up Comedy & Talk Shows": "stand-up comedy",
    "TV Action & Adventure": "action and adventure",
    "TV Comedies": "comedy",
    "TV Dramas": "drama",
    "TV Horror": "horror",
    "TV Mysteries": "mystery",
    "TV Sci-Fi & Fantasy": "science fiction and fantasy",
    "TV Thrillers": "thriller",
    "Thrillers": "thriller",
}
STAND_UP = "stand-up comedy"
_STAGE = "stand-up comedians"


class Audience(StrEnum):
    """Whom a rating lets watch; FAMILY leaves it to the parents."""

    CHILDREN = "children"
    FAMILY = "family"
    TEENS = "teens"
    ADULTS = "adults"


_AUDIENCES = {
    **dict.fromkeys(("TV-Y", "TV-Y7", "TV-Y7-FV", "TV-G", "G"), Audience.CHILDREN),
    **dict.fromkeys(("PG", "TV-PG"), Audience.FAMILY),
    **dict.fromkeys(("PG-13", "TV-14"), Audience.TEENS),
    **dict.fromkeys(("R", "NC-17", "TV-MA"), Audience.ADULTS),
}


class _Listed(Record):
    show_type: str
    title: str
    director: str
    cast: str
    countries: str
    release_year: int
    rating: str
    duration: str
    categories: str
    description: str


@dataclass(frozen=True)
class Title:
    """A film or series; `length` is minutes of a film, seasons of a series; `people` are all, `named` those told of."""

    name: str
    description: str
    is_film: bool
    countries: tuple[str, ...]
    year: int
    audience: Audience
    length: int
    genres: tuple[str, ...]
    people: frozenset[str]
    named: tuple[str, ...]
    themes: frozenset[str]
    document: str


def read_titles(directory: Path, aside: list[Quarantined]) -> Iterator[Title]:
    """Yield the titles that have a country, a rating, a length and a genre; sources leave many of these empty."""
    rows = csv.DictReader(io.StringIO(read_text(directory, FILE)))
    for listed in check_records(rows, FILE, _Listed, aside):
        title = _title(listed)
        if title is not None:
            yield title


def _title(listed: _Listed) -> Title | None:
    countries = tuple(_with_article(name) for name in _names(listed.countries))
    genres = tuple(dict.fromkeys(_GENRES[name] for name in _names(listed.categories) if name in _GENRES))
    audience = _AUDIENCES.get(listed.rating)
    number = listed.duration.split(" ")[0]
    if not (countries and genres and audience and number.isdecimal() and listed.description):
        return None
    directors = _names(listed.director)
    cast = _names(listed.cast)
    themes = themes_of(listed.description)
    facts = _Facts(countries, genres, audience, directors[:_NAMED_DIRECTORS], cast[:_NAMED_CAST])
    return Title(
        name=listed.title,
        description=listed.description,
        is_film=listed.show_type == "Movie",
        countries=countries,
        year=listed.release_year,
        audience=audience,
        length=int(number),
        genres=genres,
        people=frozenset(directors + cast),
        named=tuple(dict.fromkeys(facts.directors + facts.cast)),
        themes=themes & {_STAGE} if STAND_UP in genres else themes - {_STAGE},
        document=_document(listed, facts),
    )


class _Facts(NamedTuple):
    """What a document tells of a title beside what is listed."""

    countries: tuple[str, ...]
    genres: tuple[str, ...]
    audience: Audience
    directors: list[str]
    cast: list[str]


def _document(listed: _Listed, facts: _Facts) -> str:
    """Tell the data of a title as prose, in one of several ways."""
    key = listed.title
    country = listing(facts.countries)
    genres = listing(facts.genres)
    text = choose_phrase("netflix.phrases.passage.layout", key).format(
        title=listed.title,
        kind="film" if listed.show_type == "Movie" else "series",
        year=listed.release_year,
        country=country,
        country_capital=country[0].upper() + country[1:],
        genres=genres,
        genres_capital=genres.capitalize(),
        description=listed.description,
        credits=_credits(key, facts.directors, facts.cast),
        length=_length(key, listed.duration),
        audience=choose_phrase(f"netflix.phrases.passage.audience.{facts.audience}", key).format(rating=listed.rating),
    )
    return " ".join(text.split())


def _credits(key: str, directors: list[str], cast: list[str]) -> str:
    known = {"both": directors and cast, "director": directors, "cast": cast}
    kind = next((kind for kind, names in known.items() if names), None)
    if kind is None:
        return ""
    return choose_phrase(f"netflix.phrases.passage.credits.{kind}", key).format(
        director=listing(directors), cast=listing(cast)
    )


def _length(key: str, duration: str) -> str:
    number, unit = duration.split(" ")
    kind = "film" if unit == "min" else unit.casefold().rstrip("s") + ("" if number == "1" else "s")
    return choose_phrase(f"netflix.phrases.passage.length.{kind}", key).format(minutes=number, seasons=number)


def listing(names: tuple[str, ...] | list[str]) -> str:
    """Join names as a sentence does: "a, b and c"; names that hold an "and" of their own take commas only."""
    if any(" and " in name for name in names):
        return ", ".join(names)
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _with_article(country: str) -> str:
    return f"the {country}" if country in _WITH_ARTICLE else country
