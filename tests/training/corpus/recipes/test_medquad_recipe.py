from evaluation.suites.medquad import Condition
from training.corpus.recipes.medquad import not_named_in


def test_a_condition_that_a_held_out_split_spells_another_way_is_dropped() -> None:
    conditions = [Condition("McCune Albright syndrome"), Condition("47 XYY"), Condition("Gout")]
    elsewhere = [Condition("McCune-Albright Syndrome"), Condition("47,XYY"), Condition("Gout in feet")]
    assert [condition.name for condition in not_named_in(conditions, elsewhere)] == ["Gout"]
