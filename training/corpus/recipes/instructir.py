"""InstructIR: who asks.

The data set's own documents, rewritten for each reader, are not public, so only the MS MARCO document of the query is
left. Read against the readers' full wishes (a video, the latest figures, sellers' margins) it seldom serves them. What
stays right is who they are: the document is the one to find for anybody who asks the query and wishes nothing more.
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
        role = _role(query)
        other = _other(query, role, queries) if role else None
        if role and other:
            yield make_row(
                query.number,
                query_positive=query.text,
                instruction_positive=choose_wording("instructir.role", query.text, split).format(role=role),
                document_positive=query.document,
                query_negative=other.text,
                hard_negative_document_2=other.document,
                source=SOURCE,
                instruction_type=InstructionType.PERSONA,
                license=LICENSE,
                domain="general web",
            )
    yield from aside


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


RECIPE = Recipe(name=SOURCE, folder="instructir", files=FILES, license=LICENSE, origin=ORIGIN, rows=_rows)
