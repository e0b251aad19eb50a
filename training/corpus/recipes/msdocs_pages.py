"""Pages of Microsoft's documentation, and the parts that their passages belong to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path

from evaluation.suites.draft import digest_number
from evaluation.suites.splits import Split, split_of
from training.corpus.files import Quarantined
from training.corpus.recipes.records import Record, read_records

SOURCE = "msdocs"
FILE = "passages.jsonl.gz"
_SHORTEST_WORDS = 12
_FEWEST_ITEMS = 3
_HEADER = re.compile(r"\s*\([^()]*\)$")
_WORD = re.compile(r"\w+")
_ITEM = re.compile(r"(?:^|\s)- (?=\S)")
_ESCAPE = re.compile(r"\\(?=\W|_)")
_MARKUP = re.compile(r"!code-\S+|&nbsp;|\[!\w+\]|\\(?=\s|$)")
_LINK = re.compile(r"\[([^\[\]]+)\](?:\[[^\[\]]*\]|\([^()]*\))")
_REFERENCE = re.compile(r"\[\d+\]: \S+")
_TABLE = re.compile(
    r"\b(?:value|code|method|member|element|property|name|term|constant|attribute|flag)\S* (?:description|meaning)\b",
    re.IGNORECASE,
)
_NOTICE = re.compile(
    r"\[?\\?The feature associated with this page.{1,500}?use the new APIs if possible\.\s*\]?"
    r"|The Microsoft Foundation Classes \(MFC\) library continues to be supported\.[^.]*\."
    r"|This documentation is derived from the CIM class descriptions.*$"
)
_ELSEWHERE = re.compile(r"^(?:see|for)\b[^.]*\bexample\b[^.]*\bsee\b|^see\b|^for more information", re.IGNORECASE)
_EMPTY = re.compile(r"has these types of members")
_ORDINARY_SHARE = 0.6
_SAMPLE_OF_TEN = 5


class Facet(StrEnum):
    """Parts of a reference page."""

    SYNTAX = "syntax"
    PARAMETERS = "parameters"
    RETURNS = "returns"
    REQUIREMENTS = "requirements"
    RELATED = "related"
    EXAMPLES = "examples"
    REMARKS = "remarks"
    OVERVIEW = "overview"
    MEMBERS = "members"
    ERRORS = "errors"
    HIERARCHY = "hierarchy"
    CAUSES = "causes"
    FIXES = "fixes"


_SECTIONS = {
    Facet.SYNTAX: "syntax",
    Facet.PARAMETERS: "parameters|arguments",
    Facet.RETURNS: "return value|return values",
    Facet.REQUIREMENTS: "requirements|run-time requirements|prerequisites",
    Facet.RELATED: "see also|related topics|related links",
    Facet.EXAMPLES: "example|examples",
    Facet.REMARKS: "remarks|notes",
    Facet.OVERVIEW: "description|overview|purpose|introduction|summary",
    Facet.MEMBERS: "members|methods|properties|public methods|constants|functions",
    Facet.ERRORS: "error codes|error messages",
    Facet.HIERARCHY: "inheritance hierarchy",
    Facet.CAUSES: "possible causes",
    Facet.FIXES: "possible fixes|solution",
}
_FACET_OF = {section: facet for facet, sections in _SECTIONS.items() for section in sections.split("|")}


_UNCLEAR = (
    {Facet.OVERVIEW, Facet.REMARKS},
    {Facet.SYNTAX, Facet.PARAMETERS},
    {Facet.SYNTAX, Facet.EXAMPLES},
    {Facet.ERRORS, Facet.RETURNS},
    {Facet.ERRORS, Facet.CAUSES},
    {Facet.REMARKS, Facet.REQUIREMENTS},
)
"""Parts that often answer for one another: a reader could not say that one is not the other."""

_SIGNS = {
    Facet.EXAMPLES: "example",
    Facet.RETURNS: "return",
    Facet.PARAMETERS: "parameter",
    Facet.REQUIREMENTS: "require",
    Facet.ERRORS: "error",
    Facet.RELATED: "see ",
    Facet.SYNTAX: "syntax",
}
"""What shows that a passage of another part touches on a facet as well."""


class _Listed(Record):
    doc: str
    title: str
    section: str
    text: str


@dataclass(frozen=True)
class Passage:
    """A passage of a page; `document` names the page where the text does not."""

    title: str
    section: str
    facet: Facet | None
    text: str
    document: str

    @property
    def n_words(self) -> int:
        return len(self.text.split())

    @cached_property
    def is_list(self) -> bool:
        return len(_ITEM.findall(self.text)) >= _FEWEST_ITEMS

    @cached_property
    def is_prose(self) -> bool:
        """Tell sentences from tables, lists of names and code."""
        words = self.text.split()
        n_ordinary = sum(word.strip(".,;:()").isalpha() and word[:1].islower() for word in words)
        is_flat = not _ITEM.search(self.text) and not _TABLE.search(self.text)
        return is_flat and n_ordinary >= _ORDINARY_SHARE * len(words) and self.text.rstrip().endswith((".", "!", "?"))


def judge_facet(passage: Passage, facet: Facet) -> bool | None:
    """Tell whether a passage is about a facet; None where a reader could see it either way."""
    if passage.facet is facet:
        return True
    if passage.facet is None or {passage.facet, facet} in _UNCLEAR:
        return None
    return None if _SIGNS.get(facet, "\0") in passage.text.casefold() else False


@dataclass(frozen=True)
class Page:
    """A page with its passages in their order; `folder` holds pages on the same subject."""

    path: str
    title: str
    passages: tuple[Passage, ...]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def words(self) -> frozenset[str]:
        return frozenset(_WORD.findall(self.title.casefold()))


@dataclass(frozen=True)
class Pages:
    """Pages by split, and the lines of the file that were broken."""

    of: Mapping[Split, tuple[Page, ...]]
    broken: tuple[Quarantined, ...]


@lru_cache(maxsize=1)
def read_pages(directory: Path) -> Pages:
    """Read half of the pages, chosen by digest, that have more than one passage; those of one title share a split.

    The last answer is kept: three recipes read this, for three splits, and the file is large.
    """
    aside: list[Quarantined] = []
    pages: dict[Split, list[Page]] = {split: [] for split in Split}
    # Passages of a page follow one another in the file.
    for path, group in groupby(read_records(directory, FILE, _Listed, aside), key=lambda listed: listed.doc):
        found = list(group)
        title = _HEADER.sub("", _plain(found[0].title))
        if len(found) > 1 and title and digest_number(f"msdocs sample:{path}") % 10 < _SAMPLE_OF_TEN:
            passages = [_passage(title, listed, is_first=listed is found[0]) for listed in found]
            readable = tuple(passage for passage in passages if _is_readable(passage))
            if len(readable) > 1:
                pages[split_of(SOURCE, title.casefold())].append(Page(path, title, readable))
    return Pages({split: tuple(found) for split, found in pages.items()}, tuple(aside))


def _passage(title: str, listed: _Listed, *, is_first: bool) -> Passage:
    section = _plain(listed.section)
    text = " ".join(_NOTICE.sub(" ", _plain(listed.text)).split())
    is_named = title.casefold() in text.casefold()
    facet = _FACET_OF.get(section.casefold())
    if facet is None and is_first and _HEADER.sub("", section) == title:
        facet = Facet.OVERVIEW
    if (facet is Facet.OVERVIEW and _TABLE.search(text)) or (facet is Facet.EXAMPLES and _ELSEWHERE.search(text)):
        facet = None
    return Passage(title, section, facet, text, text if is_named else f"{title}. {text}")


def _is_readable(passage: Passage) -> bool:
    """Passages are cut from sections: those that begin in the middle of a sentence are no good reading."""
    begins = passage.text[:1]
    is_whole = not begins.islower() and begins not in ",.;:)]|"
    return passage.n_words >= _SHORTEST_WORDS and is_whole and not _EMPTY.search(passage.text)


def _plain(text: str) -> str:
    """Take markup out: escapes, links, includes of code."""
    text = _LINK.sub(r"\1", _MARKUP.sub(" ", _REFERENCE.sub(" ", text)))
    return " ".join(_ESCAPE.sub("", text).split())
