"""Which rows a step sees."""

from collections import Counter

import pytest

from infembed.errors import BadConfigError
from tests.training.toy import toy_rows
from training.config import DataConfig
from training.corpus.rows import InstructionType, Row
from training.mixture import Mixture, make_mixture


def data(**changes: object) -> DataConfig:
    return DataConfig.model_validate({"corpora": ("train",), "dev": ("dev",), **changes})


def mixture(config: DataConfig, *, n_drawn: int = 4, seed: int = 7) -> Mixture:
    return make_mixture(toy_rows(), config, n_drawn=n_drawn, seed=seed)


def drawn(found: Mixture, *, n_steps: int = 1500, n: int = 4) -> list[Row]:
    return [row for step in range(n_steps) for row in found.draw(step, n)]


def test_step_sees_the_same_rows_each_time_and_others_under_another_seed_or_step() -> None:
    one, other = mixture(data()), mixture(data())
    other.draw(3, 4)
    assert one.draw(5, 4) == other.draw(5, 4)
    assert one.draw(5, 4) != one.draw(6, 4)
    assert one.draw(5, 4) != mixture(data(), seed=8).draw(5, 4)


def test_rows_of_a_step_are_different_ones() -> None:
    found = mixture(data())
    for step in range(200):
        assert len({row.model_dump_json() for row in found.draw(step, 20)}) == 20


def test_without_shares_every_row_is_as_likely() -> None:
    counts = Counter(row.model_dump_json() for row in drawn(mixture(data())))
    assert len(counts) == 36
    assert min(counts.values()) > 0.7 * max(counts.values())


def test_first_of_a_step_follows_the_shares() -> None:
    """One row a step is drawn by weight exactly; four of 36 without replacement are so nearly."""
    found = mixture(data(shares={"toy-child": 3.0, "toy-cost": 1.0}), n_drawn=1)
    counts = Counter(row.source for row in drawn(found, n_steps=4000, n=1))
    assert set(counts) == {"toy-child", "toy-cost"}
    assert counts["toy-child"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_share_is_the_source_s_however_many_rows_it_has() -> None:
    rows = [row for row in toy_rows() if row.source != "toy-child"] + toy_rows()[:1]
    found = make_mixture(rows, data(shares={"toy-child": 1.0, "toy-cost": 1.0}), n_drawn=1, seed=0)
    counts = Counter(row.source for row in drawn(found, n_steps=4000, n=1))
    assert counts["toy-child"] / 4000 == pytest.approx(0.5, abs=0.03)


def test_balance_draws_each_type_of_a_source_equally_often() -> None:
    rows = [row.model_copy(update={"source": "one"}) for row in toy_rows()]  # 12 of audience, 24 of facet
    found = make_mixture(rows, data(balances_types=True), n_drawn=1, seed=0)
    counts = Counter(row.instruction_type for row in drawn(found, n_steps=4000, n=1))
    assert counts[InstructionType.AUDIENCE] / 4000 == pytest.approx(0.5, abs=0.03)


def test_excluded_types_and_sources_are_never_drawn() -> None:
    found = mixture(data(exclude_types=("audience",), exclude_sources=("toy-cost",)))
    assert {row.source for row in found.rows} == {"toy-guide"}
    assert found.counts() == {"toy-guide": 12}


def test_share_of_a_source_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadConfigError, match=r"shares names else, the corpora hold toy-child"):
        mixture(data(shares={"toy-child": 1.0, "else": 1.0}))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(BadConfigError, match=r"36 rows are left to draw 36 a step from; give more corpora, or lower"):
        mixture(data(), n_drawn=36)


def test_corpus_without_hard_negatives_is_refused() -> None:
    gone = dict.fromkeys(
        ("instruction_negative", "hard_negative_document_1", "query_negative", "hard_negative_document_2")
    )
    rows = [row.model_copy(update=gone) for row in toy_rows()]
    with pytest.raises(BadConfigError, match="no row has a hard negative, so nothing teaches the model to read instru"):
        make_mixture(rows, data(), n_drawn=4, seed=0)


def test_source_to_hold_out_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadConfigError, match="exclude_sources names toy-csot, the corpora hold toy-child, toy-cost"):
        mixture(data(exclude_sources=("toy-csot",)))
