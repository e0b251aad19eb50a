"""Policies that make sense, and those that are refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.gate_power import promotions
from evaluation.gate import Policy, Verdict

DEFAULT_POLICY = Path(__file__).parents[2] / "configs" / "gate.toml"


@pytest.mark.parametrize(
    "change",
    [
        {"ndcg_margin": 0},
        {"ndcg_margin": 0.5},
        {"confidence": 1.0},
        {"latency_ratio": 0.5},
        {"parity_max_abs": 1.0},
        {"unknown": 1},
    ],
)
def test_a_bound_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(change)


@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        ({"goal": "maintain", "p_mrr_margin": 0.06}, "p_mrr_margin (0.06)", "suite_loss (0.05)"),
        (
            {"goal": "maintain", "p_mrr_margin": 0.06, "suite_loss": 0.1},
            "p_mrr_margin (0.06)",
            "type_loss (0.05)",
        ),
        ({"ndcg_margin": 0.06}, "ndcg_margin (0.06)", "suite_loss (0.05)"),
        ({"ndcg_margin": 0.04, "ndcg_floor": 0.03}, "ndcg_margin (0.04)", "ndcg_floor (0.03)"),
        ({"requires_parity": True, "requires_serving": False}, "requires_parity", "requires_serving"),
    ],
)
def test_an_impossible_margin_is_refused_with_both_fields_named(
    change: dict[str, object], first: str, second: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        Policy.model_validate(change)
    assert first in str(refusal.value)
    assert second in str(refusal.value)


def test_the_policy_in_the_repository_is_the_default_and_names_every_field() -> None:
    policy = Policy.from_toml(DEFAULT_POLICY)
    assert policy == Policy()
    assert policy.model_fields_set == set(Policy.model_fields)


def test_every_field_of_the_policy_is_documented() -> None:
    text = (DEFAULT_POLICY.parents[1] / "docs" / "gate.md").read_text(encoding="utf-8")
    for name, field in Policy.model_fields.items():
        assert f"| `{name}` |" in text
        assert str(field.description) in text


@pytest.mark.slow
def test_an_equal_model_is_promoted_in_at_most_one_of_twenty_comparisons() -> None:
    share = promotions((40, 80), n_samples=400)[Verdict.PASS]
    assert share <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
