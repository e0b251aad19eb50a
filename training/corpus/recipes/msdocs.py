"""Microsoft's documentation: one page, and wishes for one part of it, for its form or for its level of detail."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from evaluation.suites.draft import digest_number
from evaluation.suites.splits import Split
from training.corpus.recipes.msdocs_pages import FILE, SOURCE, Facet, Page, Passage, judge_facet, read_pages
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.wishes import Attribute, Wish, rotated, telling_apart
from training.corpus.recipes.wordings import choose_phrase, choose_wording
from training.corpus.rows import InstructionType

_MOST_PAGES = {Split.TRAIN: 2100, Split.DEV: 250, Split.TEST: 350}
_ROWS_PER_PAGE = 2
_MOST_PASSAGES = 3
"""Of one facet: pages with more describe many things, and it would not be clear whose section is asked for."""

_MOST_SEARCHED = 300
_BRIEF_WORDS = 32
_FULL_WORDS = 70
_BARE_OF_TEN = 5
_HALF_FOR_EXCLUSION = 5

_RELATED_COST = 3
"""Nearly every page has links to others, which teach little: they are asked for a third as often."""

_ONLY_BY_NAME = {Facet.RELATED, Facet.HIERARCHY}


def _facets(passage: Passage) -> Iterator[Attribute[Passage]]:
    if passage.facet is not None:
        facet = passage.facet
        yield Attribute(
            "msdocs.section.only",
            "msdocs.section.except",
            {"facet": choose_phrase(f"msdocs.phrases.facet.{facet}", passage.title)},
            InstructionType.FACET,
            lambda other: judge_facet(other, facet),
        )


def _formats(passage: Passage) -> Iterator[Attribute[Passage]]:
    """Tell lists from prose; cross-references are always lists, so they are no case of it."""
    if passage.facet is not Facet.RELATED and (passage.is_list or passage.is_prose):
        only, without = ("list", "prose") if passage.is_list else ("prose", "list")
        is_list = passage.is_list
        yield Attribute(
            f"msdocs.format.{only}",
            f"msdocs.format.{without}",
            {},
            InstructionType.FORMAT,
            lambda other: None if other.is_list is other.is_prose else other.is_list is is_list,
        )


def _details(passage: Passage) -> Iterator[Attribute[Passage]]:
    is_brief = _is_brief(passage)
    if is_brief is not None:
        only, without = ("brief", "full") if is_brief else ("full", "brief")
        yield Attribute(
            f"msdocs.detail.{only}",
            f"msdocs.detail.{without}",
            {},
            InstructionType.DETAIL,
            lambda other: None if _is_brief(other) is None else _is_brief(other) is is_brief,
        )


def _is_brief(passage: Passage) -> bool | None:
    """Tell a statement of a line or two from a long explanation; anything else is neither."""
    if passage.facet is Facet.OVERVIEW and passage.n_words <= _BRIEF_WORDS:
        return True
    return False if passage.facet is Facet.REMARKS and passage.n_words >= _FULL_WORDS else None


_KINDS: Mapping[str, Callable[[Passage], Iterator[Attribute[Passage]]]] = {
    "facet": _facets,
    "facet again": _facets,
    "format": _formats,
    "detail": _details,
}


class _Opposition(NamedTuple):
    right: Passage
    wrong: Passage
    wanted: Wish[Passage]
    unwanted: Wish[Passage]


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    found = read_pages(directory)
    yield from found.broken
    pages = _chosen(found.of[split], split)
    by_folder: dict[str, list[Page]] = defaultdict(list)
    for page in pages:
        by_folder[page.folder].append(page)
    used: Counter[Facet | None] = Counter()
    for number, page in enumerate(pages, start=1):
        for nth in range(_ROWS_PER_PAGE):
            key = f"{page.path}:{nth}"
            opposition = _oppose(page, key, used)
            if opposition is not None:
                used[opposition.right.facet] += _RELATED_COST if opposition.right.facet is Facet.RELATED else 1
                neighbours = chain(rotated(by_folder[page.folder], key), rotated(pages, key))
                other = _another(page, opposition.wanted, neighbours)
                yield _row(number, page, opposition, other, key=key, split=split)


def _chosen(pages: Sequence[Page], split: Split) -> list[Page]:
    by_digest = sorted(filter(_has_parts, pages), key=lambda page: digest_number(f"msdocs page:{page.path}"))
    return by_digest[: _MOST_PAGES[split]]


def _has_parts(page: Page) -> bool:
    counts = Counter(passage.facet for passage in page.passages if passage.facet is not None)
    return len(counts) > 1 and max(counts.values()) <= _MOST_PASSAGES


def _oppose(page: Page, key: str, used: Mapping[Facet | None, int]) -> _Opposition | None:
    """Find two passages that wishes of some kind tell apart; facets that were asked for least come first."""
    passages = sorted(page.passages, key=lambda found: (used[found.facet], digest_number(f"{key}:{found.text}")))
    for kind in sorted(_KINDS, key=lambda kind: digest_number(f"{key}:{kind}")):
        for right in passages:
            for wrong in passages:
                wishes = _wishes(right, wrong, kind)
                opposite = _wishes(wrong, right, kind)
                if wishes and opposite:
                    return _Opposition(right, wrong, _choose(wishes, key), _choose(opposite, f"{key}:opposite"))
    return None


def _wishes(right: Passage, wrong: Passage, kind: str) -> list[Wish[Passage]]:
    return [wish for wish in telling_apart(right, wrong, _KINDS[kind]) if _may_answer(wish, right)]


def _choose(wishes: Sequence[Wish[Passage]], key: str) -> Wish[Passage]:
    is_exclusion = digest_number(f"{key}:exclusion") % 10 < _HALF_FOR_EXCLUSION
    return next((wish for wish in wishes if wish.is_wanted is not is_exclusion), wishes[0])


def _row(number: int, page: Page, opposition: _Opposition, other: Passage | None, *, key: str, split: Split) -> Found:
    right, wrong, wanted, unwanted = opposition
    is_by_form = wanted.attribute.type is not InstructionType.FACET
    return make_row(
        number,
        query_positive=_query(page.title, key, split),
        instruction_positive=wanted.instruction(key, split),
        document_positive=right.document,
        query_negative=_query(other.title, f"{key}:other", split) if other else None,
        instruction_negative=unwanted.instruction(f"{key}:opposite", split),
        hard_negative_document_1=wrong.document,
        hard_negative_document_2=other.document if other else None,
        source=RECIPE.name,
        instruction_type=wanted.attribute.type if is_by_form else wanted.type,
        license=RECIPE.license,
        domain="software documentation",
    )


def _query(title: str, key: str, split: Split) -> str:
    if digest_number(f"{key}:bare") % 10 < _BARE_OF_TEN:
        return title
    return choose_wording("msdocs.query.page", key, split).format(title=title)


def _another(page: Page, wish: Wish[Passage], neighbours: Iterator[Page]) -> Passage | None:
    """Return a passage of another page, of the same folder if there is one, that fulfils the wish."""
    others = (other for other in neighbours if not (other.words <= page.words or page.words <= other.words))
    passages = (passage for other in islice(others, _MOST_SEARCHED) for passage in other.passages)
    return next((passage for passage in passages if wish.is_fulfilled_by(passage) and _may_answer(wish, passage)), None)


def _may_answer(wish: Wish[Passage], passage: Passage) -> bool:
    """Tell apart what one asks for by name only: links to other pages are no answer to "anything but ..."."""
    return wish.is_wanted or passage.facet not in _ONLY_BY_NAME


RECIPE = Recipe(
    name=SOURCE,
    folder="msdocs",
    files=(FILE,),
    license="CC BY 4.0",
    origin="https://github.com/MicrosoftDocs",
    rows=_rows,
)
