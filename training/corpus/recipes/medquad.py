"""MedQuAD: the pages on one condition, each on one facet of it; facets asked for, left out and combined.

Conditions are grouped, cleaned and split as the evaluation suite does it. A general page touches on everything, so it
is never an answer to an instruction that leaves something out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from pathlib import Path

from evaluation.suites.draft import choose, digest_number
from evaluation.suites.medquad import GENERAL, SOURCE, Condition, group_conditions
from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.records import Record, read_records
from training.corpus.recipes.splits import held_out_from
from training.corpus.recipes.wordings import choose_phrase, choose_wording
from training.corpus.rows import InstructionType
from training.corpus.texts import normalized

_FILE = "medquad.jsonl.gz"
_LICENSE = "CC BY 4.0"
_EXCLUSIONS_PER_CONDITION = 2
_SHORT_WORDS = 60
_LONG_WORDS = 150
_TRIES = 20


class _Page(Record):
    id: str
    focus: str
    synonyms: list[str]
    qtype: str
    answer: str


@dataclass(frozen=True)
class _Wish:
    """An instruction, and the facet whose page it is right for."""

    instruction: str
    facet: str


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    records = list(read_records(directory, _FILE, _Page, aside))
    pages = [page.model_dump() for page in records]
    conditions = group_conditions(pages, split)
    elsewhere = [condition for other in held_out_from(split) for condition in group_conditions(pages, other)]
    conditions = not_named_in(conditions, elsewhere)
    shelf = _Shelf(_own_pages(conditions, elsewhere), split, lines=_lines(records))
    for condition in shelf.conditions:
        yield from shelf.rows(condition)
    yield from aside


def not_named_in(conditions: Iterable[Condition], elsewhere: Iterable[Condition]) -> list[Condition]:
    """Drop conditions that a held-out split spells another way: splits go by exact name ("McCune-Albright")."""
    named = {normalized(condition.name) for condition in elsewhere}
    return [condition for condition in conditions if normalized(condition.name) not in named]


def _own_pages(conditions: Sequence[Condition], elsewhere: Iterable[Condition]) -> list[Condition]:
    """Drop pages that stand under several conditions word for word, or under one of a held-out split."""
    held_out = {normalized(text) for condition in elsewhere for text in _texts(condition)}
    uses = Counter(text for condition in conditions for text in {normalized(text) for text in _texts(condition)})
    found = []
    for condition in conditions:
        pages = {
            facet: [(i, text) for i, text in rows if uses[normalized(text)] == 1 and normalized(text) not in held_out]
            for facet, rows in condition.pages.items()
        }
        found.append(Condition(condition.name, condition.names, {facet: rows for facet, rows in pages.items() if rows}))
    return found


def _lines(records: Iterable[_Page]) -> dict[str, int]:
    """Return the line on which each condition is first met."""
    lines: dict[str, int] = {}
    for page in records:
        lines.setdefault(" ".join(page.focus.split()).casefold(), page.place)
    return lines


def _texts(condition: Condition) -> Iterator[str]:
    return (text for rows in condition.pages.values() for _, text in rows)


class _Shelf:
    """The conditions of a split, and the rows that each gives rise to."""

    def __init__(self, conditions: Sequence[Condition], split: Split, *, lines: Mapping[str, int]) -> None:
        self.conditions = conditions
        self._split = split
        self._lines = lines
        self._by_facet: dict[str, list[Condition]] = defaultdict(list)
        for condition in conditions:
            for facet in condition.pages if len(condition.pages) > 1 else ():  # others are often no conditions at all
                self._by_facet[facet].append(condition)

    def rows(self, condition: Condition) -> Iterator[Found]:
        """Yield the rows of one condition, most kinds once or twice."""
        name = condition.name.casefold()
        facets = sorted(condition.pages, key=lambda facet: digest_number(f"{name}:{facet}"))
        pairs = [pair for pair in permutations(facets, 2) if condition.tells_apart(*pair)]
        narrow = [pair for pair in pairs if GENERAL not in pair]
        for first, second in pairs[:1]:
            yield self._only(condition, first, second)
        for first, second in pairs[-1:]:
            yield self._persona(condition, first, second)
        for turn, (first, second) in enumerate(_spread(narrow, _EXCLUSIONS_PER_CONDITION)):
            yield self._except(condition, first, second, against_only=turn > 0)
        for first, second in narrow[-1:]:
            yield self._without(condition, first, second)
        for first, second, third in islice(_triples(condition, narrow), 1):
            yield self._either(condition, first, second, third)
        for facet in facets:
            yield from self._detail(condition, facet)

    def _only(self, condition: Condition, first: str, second: str) -> Found:
        key = f"only:{condition.name}:{first}:{second}"
        wish = _Wish(self._wording("only", f"{key}:+", facet=first), first)
        opposite = _Wish(self._wording("only", f"{key}:-", facet=second), second)
        return self._row(condition, wish, opposite, InstructionType.FACET, key=key, other_facets=[first])

    def _persona(self, condition: Condition, first: str, second: str) -> Found:
        key = f"persona:{condition.name}:{first}:{second}"
        wish = _Wish(self._wording("persona", f"{key}:+", facet=first), first)
        opposite = _Wish(self._wording("persona", f"{key}:-", facet=second), second)
        return self._row(condition, wish, opposite, InstructionType.PERSONA, key=key, other_facets=[first])

    def _except(self, condition: Condition, first: str, second: str, *, against_only: bool) -> Found:
        """Leave `first` out; the opposite asks for it by name, or by leaving `second` out."""
        key = f"except:{condition.name}:{first}:{second}"
        wish = _Wish(self._wording("except", f"{key}:+", facet=first), second)
        if against_only:
            opposite = _Wish(self._wording("only", f"{key}:-", facet=first), first)
        else:
            opposite = _Wish(self._wording("except", f"{key}:-", facet=second), first)
        return self._row(condition, wish, opposite, InstructionType.EXCLUSION, key=key, other_facets=[second])

    def _without(self, condition: Condition, first: str, second: str) -> Found:
        key = f"without:{condition.name}:{first}:{second}"
        wish = _Wish(self._wording("without", f"{key}:+", facet=first, other=second), first)
        opposite = _Wish(self._wording("without", f"{key}:-", facet=second, other=first), second)
        return self._row(condition, wish, opposite, InstructionType.CONJUNCTION, key=key, other_facets=[first])

    def _either(self, condition: Condition, first: str, second: str, third: str) -> Found:
        """Ask for one of two facets and leave a third out; the opposite leaves the first out."""
        key = f"either:{condition.name}:{first}:{second}:{third}"
        wish = _Wish(self._wording("either", f"{key}:+", facet=first, other=second, third=third), first)
        opposite = _Wish(self._wording("either", f"{key}:-", facet=second, other=third, third=first), third)
        return self._row(condition, wish, opposite, InstructionType.CONJUNCTION, key=key, other_facets=[first, second])

    def _detail(self, condition: Condition, facet: str) -> Iterator[Found]:
        """Ask for the short and for the long page on one facet, where there are both."""
        texts = [text for _, text in condition.pages[facet]]
        brief = [text for text in texts if len(text.split()) <= _SHORT_WORDS]
        full = [text for text in texts if len(text.split()) >= _LONG_WORDS]
        if not brief or not full:
            return
        key = f"detail:{condition.name}:{facet}"
        query = f"{condition.name}: {choose_phrase(f'medquad.phrases.{facet}', key)}"
        sides = (("short", brief[0]), ("long", full[0]))
        for (wanted, document), (opposite, other) in (sides, sides[::-1]):
            yield make_row(
                self._lines[condition.name.casefold()],
                query_positive=query,
                instruction_positive=self._wording(wanted, f"{key}:{wanted}:+"),
                document_positive=document,
                instruction_negative=self._wording(opposite, f"{key}:{wanted}:-"),
                hard_negative_document_1=other,
                source="medquad",
                instruction_type=InstructionType.DETAIL,
                license=_LICENSE,
                domain="medicine",
            )

    def _row(
        self,
        condition: Condition,
        wish: _Wish,
        opposite: _Wish,
        kind: InstructionType,
        *,
        key: str,
        other_facets: Sequence[str],
    ) -> Found:
        facet = choose(other_facets, key)
        other = self._other(condition, facet, key)
        return make_row(
            self._lines[condition.name.casefold()],
            query_positive=self._query(condition, key),
            instruction_positive=wish.instruction,
            document_positive=_page(condition, wish.facet, key),
            instruction_negative=opposite.instruction,
            hard_negative_document_1=_page(condition, opposite.facet, key),
            query_negative=self._query(other, f"{key}:other") if other else None,
            hard_negative_document_2=_page(other, facet, key) if other else None,
            source="medquad",
            instruction_type=kind,
            license=_LICENSE,
            domain="medicine",
        )

    def _query(self, condition: Condition, key: str) -> str:
        """Return the bare name every third time, else the name in a few words."""
        if digest_number(f"query:{key}") % 3 == 0:
            return condition.name
        return choose_wording("medquad.query", key, self._split).format(name=condition.name)

    def _wording(self, kind: str, key: str, **facets: str) -> str:
        names = {place: choose_phrase(f"medquad.phrases.{facet}", f"{key}:{place}") for place, facet in facets.items()}
        text = choose_wording(f"medquad.{kind}", key, self._split).format(**names)
        return text[0].upper() + text[1:]

    def _other(self, condition: Condition, facet: str, key: str) -> Condition | None:
        """Choose another condition with a page on a facet; none whose name contains this one's or the reverse."""
        names = _word_sets(condition)
        for turn in range(_TRIES):
            other = choose(self._by_facet[facet], f"{key}:{turn}")
            if not any(words <= found or found <= words for words in names for found in _word_sets(other)):
                return other
        return None


def _word_sets(condition: Condition) -> list[frozenset[str]]:
    return [frozenset(name.casefold().split()) for name in {condition.name, *condition.names}]


def _page(condition: Condition, facet: str, key: str) -> str:
    return choose([text for _, text in condition.pages[facet]], key)


def _spread(pairs: Sequence[tuple[str, str]], n: int) -> Sequence[tuple[str, str]]:
    """Return up to `n` of the pairs, far apart in their order so that they differ in both members where they can."""
    step = max(len(pairs) // n, 1)
    return pairs[::step][:n]


def _triples(condition: Condition, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield facets of which the pages on each can be told from those on the others."""
    for first, second in pairs:
        for third in condition.pages:
            if (first, third) in pairs and (second, third) in pairs:
                yield first, second, third


RECIPE = Recipe(
    name=SOURCE,
    folder="medquad",
    files=(_FILE,),
    license=_LICENSE,
    origin="https://github.com/abachaa/MedQuAD",
    rows=_rows,
)
