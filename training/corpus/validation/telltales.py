"""Whether words alone give the hard negatives away: then a model learns those words and not to read instructions."""

from collections.abc import Sequence
from typing import NamedTuple

from training.corpus.rows import Row

SMALLEST = 50
"""Fewest rows of which an accuracy means anything."""
_FOLDS = 5
_C = 10.0
"""Weak regularisation: one word that always gives negatives away must be found among thousands."""


class Telltale(NamedTuple):
    """How often a bag-of-words classifier tells positives from hard negatives; 0.5 is chance."""

    accuracy: float
    n_rows: int


def telltale(rows: Sequence[Row], hard_negative: str) -> Telltale | None:
    """Tell positives from one kind of hard negative by word uni- and bigrams (logistic regression, folds by row).

    `hard_negative` names the column. A document that stands in several rows stays in one fold. None where fewer than
    `SMALLEST` rows have that hard negative.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    pairs = [(row.document_positive, negative) for row in rows if (negative := getattr(row, hard_negative))]
    if len(pairs) < SMALLEST:
        return None
    groups = _groups(pairs)
    if len(set(groups)) < _FOLDS:
        return None
    texts = [text for pair in pairs for text in pair]
    labels = np.tile([1, 0], len(pairs))
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=_C, max_iter=1000)
    )
    scores = cross_val_score(model, texts, labels, groups=np.repeat(groups, 2), cv=GroupKFold(n_splits=_FOLDS))
    return Telltale(round(float(scores.mean()), 4), len(pairs))


def _groups(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Give rows that share a document, directly or through others, the same number."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    number: dict[str, int] = {}
    edges = [(number.setdefault(one, len(number)), number.setdefault(two, len(number))) for one, two in pairs]
    first, second = zip(*edges, strict=True)
    graph = coo_matrix(([True] * len(edges), (first, second)), shape=(len(number), len(number)))
    _, component = connected_components(graph, directed=False)
    return [int(component[one]) for one in first]
