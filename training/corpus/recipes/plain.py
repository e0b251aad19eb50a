"""Plain retrieval: a query and its document, without any instruction, so that what a model can do stays in the mix.

The negative, where there is one, is another question on the same topic with the document that answers it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from evaluation.suites.draft import digest_number
from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes import instructir_queries
from training.corpus.recipes.instructir_queries import AskedQuery, read_queries
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.terms import stems
from training.corpus.recipes.topics import FILES, Document, Topic, read_topics
from training.corpus.recipes.wishes import rotated
from training.corpus.rows import InstructionType

_MOST_TOPICS = {Split.TRAIN: 1100, Split.DEV: 110, Split.TEST: 170}
"""Of one data set."""

_ROWS_PER_TOPIC = 2
_MOST_SHARED = 0.5


def _rows(data: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    for topics in read_topics(data, split, aside).values():
        by_digest = sorted(topics, key=lambda topic: digest_number(f"plain topic:{topic.source}:{topic.name}"))
        for topic in by_digest[: _MOST_TOPICS[split]]:
            yield from islice(_topic_rows(topic), _ROWS_PER_TOPIC)
    queries = read_queries(data / instructir_queries.SOURCE, split, aside)
    yield from _web_rows(queries)
    yield from aside


def _topic_rows(topic: Topic) -> Iterator[Found]:
    documents = sorted(topic.documents, key=lambda document: digest_number(f"{document.question}:{document.text}"))
    for document in documents:
        if document.question is not None:
            other = _other_document(document, documents)
            yield make_row(
                topic.number,
                query_positive=document.question,
                document_positive=document.text,
                query_negative=other.question if other else None,
                hard_negative_document_2=other.text if other else None,
                source=f"{RECIPE.name}:{topic.source}",
                instruction_type=InstructionType.PLAIN,
                license=topic.license,
                domain=topic.domain,
            )


def _other_document(document: Document, documents: Iterable[Document]) -> Document | None:
    """Return a document of the topic that answers another question and not this one."""
    return next(
        (
            other
            for other in documents
            if other.text in document.unlike and other.question not in {None, document.question}
        ),
        None,
    )


def _web_rows(queries: Sequence[AskedQuery]) -> Iterator[Found]:
    stems_of = {query.text: stems(query.text) for query in queries}
    for query in queries:
        other = _neighbour(query, queries, stems_of)
        yield make_row(
            query.number,
            query_positive=query.text,
            document_positive=query.document,
            query_negative=other.text if other else None,
            hard_negative_document_2=other.document if other else None,
            source=f"{RECIPE.name}:{instructir_queries.SOURCE}",
            instruction_type=InstructionType.PLAIN,
            license=instructir_queries.LICENSE,
            domain="general web",
        )


def _neighbour(
    query: AskedQuery, queries: Sequence[AskedQuery], stems_of: Mapping[str, frozenset[str]]
) -> AskedQuery | None:
    """Return the query that shares the most words with this one without asking nearly the same."""
    own = stems_of[query.text]

    def share(other: AskedQuery) -> float:
        found = stems_of[other.text]
        is_near = not (own <= found or found <= own) and len(own & found) < _MOST_SHARED * len(own | found)
        return len(own & found) / len(own | found) if is_near else 0.0

    nearest = max(rotated(queries, query.text), key=share)
    return nearest if share(nearest) else None


RECIPE = Recipe(
    name="plain",
    folder=".",
    files=(*FILES, *(f"{instructir_queries.SOURCE}/{name}" for name in instructir_queries.FILES[1:])),
    license=f"CC BY 4.0, {instructir_queries.LICENSE}",
    origin="https://github.com/abachaa/MedQuAD, https://github.com/pubmedqa/pubmedqa, "
    f"https://github.com/MicrosoftDocs, {instructir_queries.ORIGIN}",
    rows=_rows,
)
