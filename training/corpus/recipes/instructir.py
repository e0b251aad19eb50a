"""InstructIR: who asks, and what for in their own words.

The data set's own documents, rewritten for each reader, are not public, so only the MS MARCO document of the query is
left. It is the right one for readers whose wishes it serves at least in part, and for anybody who only says who they
are. No document is known to violate a reader's wish, so rows have no opposite.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.suites.draft import digest_number
from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes.instructir_queries import FILES, LICENSE, ORIGIN, SOURCE, AskedQuery, read_queries
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.terms import content_stems
from training.corpus.recipes.wishes import rotated
from training.corpus.recipes.wordings import choose_wording
from training.corpus.rows import InstructionType

_READERS_PER_QUERY = 2
_FEWEST_SHARED = 3
_ANOTHER_THING = re.compile(
    r"\b(?:videos?|info ?graphics?|diagrams?|images?|photos?|pictures?|visuals?|visual aids|illustrations?"
    r"|charts?|graphs|maps?|interactive|animations?|podcasts?|tutorials?|step-by-step|lesson plans?"
    r"|templates?|quiz\w*|forums?|reviews?|testimonials?|interviews?|anecdotes?|scholarly"
    r"|peer-reviewed|academic|journals?|research papers?|papers|studies|case stud\w+|statistics"
    r"|statistical|datasets?|databases?|data|archives?|records|books?|legal|court|policy|recent|latest"
    r"|current|up-to-date|real-time|history|historical|comparisons?|compare|comparative|reports?"
    r"|in-depth|detailed|comprehensive|thorough|extensive|technical|advanced|experts?|official"
    r"|government|prioriti[sz]e\w*|exclude|avoid|filter\w*)\b",
    re.IGNORECASE,
)
"""Wishes that a paragraph of a web page does not serve, or does so by chance."""

_ROLE = re.compile(
    r"^(?:I am|I'm|As) (an? (?:[\w'-]+ ){0,3}?(?!(?:currently|recently|now|\w+ing|\w+ed)\b)[\w'-]+)"
    r"(?=,| (?:who|with|at|for|in|on|from|of|and|to|working|preparing|writing|studying|researching|planning|organizing"
    r"|creating|developing|looking|tasked|interested|specializing|focusing|focused|exploring|teaching)\b)"
)
"""How readers begin: "I am a travel blogger planning ...", "As a retired nurse, I ..."."""


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    queries = read_queries(directory, split, aside)
    for query in queries:
        for reader in _served(query):
            yield _row(query, reader, None)
        role = _role(query)
        other = _other(query, role, queries) if role else None
        if role and other:
            yield _row(query, choose_wording("instructir.role", query.text, split).format(role=role), other)
    yield from aside


def _served(query: AskedQuery) -> list[str]:
    """Return the readers whose wishes the document serves, judged by the words they share beyond the query's."""
    document = content_stems(query.document) - content_stems(query.text)
    plain = [reader for reader in query.readers if not _ANOTHER_THING.search(reader)]
    shared = {reader: len(content_stems(reader) & document) for reader in plain}
    served = [reader for reader in plain if shared[reader] >= _FEWEST_SHARED]
    return sorted(served, key=lambda reader: (-shared[reader], digest_number(reader)))[:_READERS_PER_QUERY]


def _role(query: AskedQuery) -> str | None:
    """Return what one of the readers calls themselves: it says nothing about the subject, so any document fits it."""
    subject = content_stems(query.text)
    for reader in sorted(query.readers, key=digest_number):
        found = _ROLE.match(reader)
        if found and subject and not content_stems(found.group(1)) & subject:
            return found.group(1)
    return None


def _other(query: AskedQuery, role: str, queries: Sequence[AskedQuery]) -> AskedQuery | None:
    """Return a query that shares no word with this one nor with the role; neither query may be without one."""
    taken = content_stems(query.text) | content_stems(role)
    others = ((other, content_stems(other.text)) for other in rotated(queries, query.text) if other is not query)
    return next((other for other, subject in others if subject and not taken & subject), None)


def _row(query: AskedQuery, instruction: str, other: AskedQuery | None) -> Found:
    return make_row(
        query.number,
        query_positive=query.text,
        instruction_positive=instruction,
        document_positive=query.document,
        query_negative=other.text if other else None,
        hard_negative_document_2=other.document if other else None,
        source=SOURCE,
        instruction_type=InstructionType.PERSONA,
        license=LICENSE,
        domain="general web",
    )


RECIPE = Recipe(name=SOURCE, folder="instructir", files=FILES, license=LICENSE, origin=ORIGIN, rows=_rows)
