"""How numbers, measures and moves are worded on a page."""

from collections.abc import Mapping

from evaluation.report import DocumentMove, Effect, Estimate, Measure

MEANING: Mapping[Measure, str] = {
    Measure.P_MRR: "How far documents fall that the changed instruction no longer wants; 100 is best, 0 means that the "
    "instruction moved nothing, below 0 they rose.",
    Measure.PRESERVE_MRR: "The same for documents that stay relevant; 0 is best.",
    Measure.SHUFFLED_P_MRR: "p-MRR under another topic's instruction: a control, 0 is best.",
    Measure.PAIRWISE: "How often a document still relevant is ranked before one that no longer is; chance is 50.",
    Measure.PAIRED: "How often both queries of a pair rank their own document first; chance is 25.",
    Measure.ROBUSTNESS: "nDCG@10 of each topic's worst query.",
    Measure.NDCG: "Ranking quality of queries as written, with their instructions.",
    Measure.PLAIN_NDCG: "Ranking quality of the same queries without instructions.",
    Measure.LIFT: "nDCG@10 with the instruction minus without: what the instruction is worth.",
    Measure.MAP: "Mean average precision of the first 1,000 documents.",
    Measure.RECALL: "Share of the relevant documents among the first 100.",
    Measure.RECIPROCAL_RANK: "One over the rank of the first relevant document, among the first 10.",
    Measure.SICR: "Share of documents that follow the instruction and its reverse strictly (InfoSearch).",
    Measure.WISE: "The same, weighted by how far they move (InfoSearch).",
}
MINUS = "\N{MINUS SIGN}"
TIMES_100 = "\N{MULTIPLICATION SIGN} 100"
_SIGNED = frozenset({Measure.P_MRR, Measure.PRESERVE_MRR, Measure.SHUFFLED_P_MRR, Measure.LIFT, Measure.WISE})


def points(value: float, measure: Measure | None = None, *, signed: bool = False) -> str:
    """Write a value times 100, with a real minus, and a plus where the measure can be negative."""
    rounded = round(value * 100, 1) + 0.0  # adding zero makes -0.0 a plain 0.0
    text = f"{rounded:+.1f}" if signed or measure in _SIGNED else f"{rounded:.1f}"
    return text.replace("-", MINUS)


def interval(found: Estimate) -> str:
    """Write the interval of an estimate, or why it has none."""
    if found.low is None or found.high is None:
        return f"no interval: {found.n_topics} topics"
    return f"{points(found.low)} to {points(found.high)}"


def aloud(label: str, found: Estimate) -> str:
    """Say an estimate in words, for those who cannot see the picture."""
    return f"{label}: {points(found.mean, signed=True)} ({interval(found)})"


def direction(move: DocumentMove) -> str:
    """Say which way a document moved."""
    if move.rank_after == move.rank_before:
        return "stayed"
    return "fell" if move.rank_after > move.rank_before else "rose"


def is_right(move: DocumentMove) -> bool | None:
    """Whether the move is what the instruction asks for; None for documents that should stay and hardly moved."""
    way = direction(move)
    if move.effect is Effect.WITHDRAWN:
        return way == "fell"
    if move.effect is Effect.ADDED:
        return way == "rose" or move.rank_after == 1
    return None if way != "fell" else False
