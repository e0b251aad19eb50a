"""Which rows each step sees: drawn by weight from the sources, a pure function of the seed and the step.

Nothing is remembered between steps, so a run that is resumed at step n sees what it would have seen.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from infembed.errors import BadConfigError
from training.config import MINI, DataConfig
from training.corpus.files import Quarantined, read_corpus
from training.corpus.mini import Part, read_mini
from training.corpus.rows import Row


class LoadedRows(NamedTuple):
    """The rows of some corpora, and what could not be read, by corpus."""

    rows: list[Row]
    quarantined: dict[str, list[Quarantined]]


def load_rows(corpora: Iterable[str], part: Part) -> LoadedRows:
    """Read corpora by path; `inf-ir-mini` is the part of the corpus in this package."""
    rows: list[Row] = []
    quarantined: dict[str, list[Quarantined]] = {}
    for name in corpora:
        if name == MINI:
            rows += read_mini(part)
            continue
        reading = read_corpus(Path(name))
        rows += reading.rows
        if reading.quarantined:
            quarantined[name] = reading.quarantined
    return LoadedRows(rows, quarantined)


@dataclass(frozen=True)
class Mixture:
    """Rows and the chance of each to be drawn."""

    rows: Sequence[Row]
    chances: npt.NDArray[np.float64]
    seed: int

    def draw(self, step: int, n: int) -> list[Row]:
        """Draw `n` different rows for a step."""
        generator = np.random.default_rng((self.seed, step))
        # Gumbel's trick draws by weight without replacement in one pass.
        keys = np.log(self.chances) + generator.gumbel(size=len(self.chances))
        return [self.rows[int(place)] for place in np.argpartition(-keys, n)[:n]]

    def counts(self) -> dict[str, int]:
        """Rows by source."""
        return dict(sorted(Counter(row.source for row in self.rows).items()))


def make_mixture(rows: Iterable[Row], config: DataConfig, *, n_drawn: int, seed: int) -> Mixture:
    """Choose the rows a configuration wants and weigh them; refuses what could not be trained on."""
    rows = list(rows)
    sources = {row.source for row in rows}
    if absent := sorted(set(config.exclude_sources) - sources):
        raise BadConfigError(
            f"exclude_sources names {', '.join(absent)}, the corpora hold {', '.join(sorted(sources)) or 'no rows'}; "
            "nothing would be held out: correct the name, or take it away"
        )
    kept = [row for row in rows if _is_wanted(row, config)]
    counts = Counter(row.source for row in kept)
    if config.shares and (missing := sorted(set(config.shares) - set(counts))):
        raise BadConfigError(
            f"shares names {', '.join(missing)}, the corpora hold {', '.join(sorted(counts)) or 'no rows'}; "
            "add the corpus or take the share away"
        )
    if len(kept) <= n_drawn:
        raise BadConfigError(
            f"{len(kept)} rows are left to draw {n_drawn} a step from; give more corpora, or lower rows_per_step"
        )
    if not any(row.hard_negative_document_1 or row.hard_negative_document_2 for row in kept):
        raise BadConfigError(
            "no row has a hard negative, so nothing teaches the model to read instructions; build a corpus with them "
            "(`infembed corpus build`)"
        )
    types = Counter((row.source, row.instruction_type) for row in kept)
    n_types = Counter(source for source, _ in types)
    weights = []
    for row in kept:
        weight = config.shares.get(row.source, 1.0) / counts[row.source] if config.shares else 1.0
        if config.balances_types:
            weight *= counts[row.source] / (n_types[row.source] * types[row.source, row.instruction_type])
        weights.append(weight)
    chances = np.array(weights) / sum(weights)
    return Mixture(kept, chances, seed)


def _is_wanted(row: Row, config: DataConfig) -> bool:
    if row.source in config.exclude_sources or (config.shares and row.source not in config.shares):
        return False
    if any(word.casefold() in row.license.casefold() for word in config.exclude_licenses):
        return False
    return row.instruction_type not in config.exclude_types
