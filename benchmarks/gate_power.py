"""Does the gate's statistics keep its promises? Coverage, false promotions and power, by simulation with fixed seeds.

    python -m benchmarks.gate_power coverage
    python -m benchmarks.gate_power promotions
    python -m benchmarks.gate_power power

Values are drawn like differences of p-MRR per topic: within -1 and 1, many of them exactly 0 (a topic whose documents
kept their ranks). Spreads are those measured between fusions of all-MiniLM-L6-v2, and a wider one for models that
differ more.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from evaluation import statistics
from evaluation.gate import Policy, Verdict, decide
from evaluation.report import Measure, ModelIdentity, Report, SuiteScores, TopicScores
from evaluation.statistics import Values

SEED = 20_261_128
_CHUNK = 100
_TIED_MOVES = np.array([-0.75, -0.5, -1 / 3, 1 / 3, 0.5, 2 / 3, 0.75, 0.9])
_TIED_SHARES = np.array([0.05, 0.1, 0.15, 0.2, 0.2, 0.1, 0.1, 0.1])
_SKEWED_MOVES = np.array([-1 / 3, 1 / 3, 0.5, 2 / 3, 0.75, 0.9])
_SKEWED_SHARES = np.array([0.1, 0.2, 0.2, 0.2, 0.2, 0.1])

Shape = Callable[[np.random.Generator, tuple[int, int]], Values]


class Population(NamedTuple):
    """What topics are drawn from, and its true mean."""

    draw: Shape
    mean: float


class Coverage(NamedTuple):
    """How often an interval held the truth, with the standard error of that share."""

    covered: float
    too_high: float
    too_low: float
    noise: float


def _tied(share_of_zeros: float, moves: Values, shares: Values) -> Population:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
        return np.where(rng.random(shape) < share_of_zeros, 0.0, rng.choice(moves, size=shape, p=shares))

    return Population(draw, float((1 - share_of_zeros) * moves @ shares))


SHAPES: dict[str, Population] = {
    "normal": Population(lambda rng, shape: rng.normal(0.03, 0.2, shape), 0.03),
    "skewed": Population(lambda rng, shape: rng.exponential(0.2, shape) - 0.15, 0.05),
    "skewed downwards": Population(lambda rng, shape: 0.15 - rng.exponential(0.2, shape), -0.05),
    "60 % ties": _tied(0.6, _TIED_MOVES, _TIED_SHARES),
    "75 % ties, skewed": _tied(0.75, _SKEWED_MOVES, _SKEWED_SHARES),
}
SIZES = ((20,), (50,), (100,), (250,), (16, 60, 250))
"""Topics by suite; the last is a macro mean over three suites of unequal size."""

SPREADS = (0.13, 0.21, 0.40)
GAINS = (0.01, 0.03, 0.09)
_GRID = tuple(
    round(base * 10**exponent)
    for exponent in (1, 2, 3, 4)
    for base in (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 4.0, 5.0, 6.0, 7.5, 9.0)
)
_WANTED_POWER = 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("coverage", "promotions", "power"))
    parser.add_argument("--samples", type=int, help="simulated comparisons of one cell; default: 4000, 2000, 500")
    arguments = parser.parse_args()
    if arguments.what == "coverage":
        print_coverage(arguments.samples or 4000)
    elif arguments.what == "promotions":
        print_promotions(arguments.samples or 2000)
    else:
        print_power(arguments.samples or 500)


def print_coverage(n_samples: int) -> None:
    print("| values | " + " | ".join(" + ".join(map(str, sizes)) for sizes in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    for shape in SHAPES:
        cells = [coverage(shape, sizes, n_samples=n_samples) for sizes in SIZES]
        row = [f"{c.covered * 100:.1f} % ({c.too_high * 100:.1f}, {c.too_low * 100:.1f})" for c in cells]
        print(f"| {shape} | " + " | ".join(row) + " |", flush=True)


def coverage(
    shape: str, sizes: Sequence[int], *, n_samples: int, n_draws: int = statistics.N_DRAWS, tail: float = 0.025
) -> Coverage:
    """Simulate comparisons and count the intervals that hold the truth, lie above it, or lie below it."""
    rng = np.random.default_rng((SEED, *map(ord, shape), *sizes))
    draw, truth = SHAPES[shape]
    too_high = too_low = 0
    for start in range(0, n_samples, _CHUNK):
        strata = [draw(rng, (min(_CHUNK, n_samples - start), n)) for n in sizes]
        low, high = statistics.studentized_bounds(strata, tail=tail, n_draws=n_draws)
        too_high += int((low > truth).sum())
        too_low += int((high < truth).sum())
    covered = 1 - (too_high + too_low) / n_samples
    return Coverage(covered, too_high / n_samples, too_low / n_samples, (covered * (1 - covered) / n_samples) ** 0.5)


def print_promotions(n_samples: int) -> None:
    """Decide about models that are equal to the champion but for noise in p-MRR.

    All else is exactly equal, so that only the statistics of p-MRR stand between them and promotion.
    """
    print("| topics by suite | promoted | inconclusive | failed |")
    print("|---|---|---|---|")
    for sizes in SIZES[1:]:
        share = promotions(sizes, n_samples=n_samples)
        row = " | ".join(
            f"{share[verdict] * 100:.2f} %" for verdict in (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
        )
        print(f"| {' + '.join(map(str, sizes))} | {row} |", flush=True)


def promotions(sizes: Sequence[int], *, n_samples: int) -> dict[Verdict, float]:
    """Run the whole gate on pairs of models whose topics are drawn from one population."""
    rng = np.random.default_rng((SEED, *sizes))
    policy = Policy(requires_serving=False, requires_preserve=False)
    verdicts = []
    for _ in range(n_samples):
        champion, candidate = (_report(name, [_moves(rng, n) for n in sizes]) for name in ("champion", "candidate"))
        verdicts.append(decide(champion, candidate, policy).verdict)
    return {verdict: verdicts.count(verdict) / n_samples for verdict in Verdict}


def _moves(rng: np.random.Generator, n: int) -> Values:
    """p-MRR of topics: most stay put, the others move either way, on average up."""
    return np.where(rng.random(n) < 0.4, 0.0, np.clip(rng.normal(0.3, 0.25, n), -0.99, 0.99))


def _report(name: str, p_mrr: Sequence[Values]) -> Report:
    suites = []
    for number, values in enumerate(p_mrr):
        topics = tuple(
            TopicScores(
                topic=f"t{topic}",
                values={
                    Measure.P_MRR: value,
                    Measure.SHUFFLED_P_MRR: 0.0,
                    Measure.NDCG: 0.5,
                    Measure.PLAIN_NDCG: 0.5,
                    Measure.LIFT: 0.0,
                },
                by_type={"facet": value},
            )
            for topic, value in enumerate(values.tolist())
        )
        suites.append(SuiteScores(suite=f"s{number}", digest="0" * 64, n_documents=1000, n_queries=1, topics=topics))
    model = ModelIdentity(name=name, digest=name, document_fingerprint="0" * 64)
    return Report(model=model, created_at="2026-11-28T00:00:00+00:00", suites=tuple(suites))


def print_power(n_samples: int) -> None:
    print("| spread of a topic's difference | " + " | ".join(f"{gain * 100:+.0f} points" for gain in GAINS) + " |")
    print("|---|" + "---|" * len(GAINS))
    for spread in SPREADS:
        cells = [topics_needed(gain, spread, n_samples=n_samples) for gain in GAINS]
        print(f"| {spread:.2f} | " + " | ".join(cells) + " |", flush=True)


def topics_needed(gain: float, spread: float, *, n_samples: int) -> str:
    """Find the fewest topics of the grid with which the gate sees the gain in four comparisons of five."""
    for n in _GRID:
        share = power(gain, spread, n, n_samples=n_samples)
        if share >= _WANTED_POWER:
            return f"{n:,} ({share * 100:.0f} %)"
    return f"more than {_GRID[-1]}"


def power(gain: float, spread: float, n: int, *, n_samples: int, n_draws: int = 2000) -> float:
    """Share of comparisons in which bound and sign-flip test both find the gain; half of the topics do not move."""
    rng = np.random.default_rng((SEED, int(gain * 1000), int(spread * 1000), n))
    seen = 0
    for start in range(0, n_samples, _CHUNK):
        shape = (min(_CHUNK, n_samples - start), n)
        moved = rng.random(shape) < 0.5
        noise = np.where(moved, rng.normal(0, spread * 2**0.5, shape), 0.0)
        values = gain + noise
        low, _ = statistics.studentized_bounds([values], tail=0.05, n_draws=n_draws)
        p_values = statistics.sign_flip_p_values([values], n_draws=n_draws)
        seen += int(((low > 0) & (p_values <= 0.05)).sum())
    return seen / n_samples


if __name__ == "__main__":
    main()
