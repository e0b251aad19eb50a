from pathlib import Path

from benchmarks.ablations import apply, changes, slug
from training.config import TrainConfig

WORK = Path("work")
CONFIG = TrainConfig.from_toml(Path(__file__).parents[2] / "configs" / "train-release.toml")


def test_every_variant_is_a_run_of_its_own() -> None:
    every = changes(CONFIG, WORK)
    made = {name: apply(CONFIG, name, change) for name, change in every.items()}
    assert len({config.name for config in made.values()}) == len(every)
    assert all(config.name == slug(name) for name, config in made.items())


def test_a_source_that_is_left_out_takes_what_was_made_from_it_along() -> None:
    config = apply(CONFIG, "no medquad", changes(CONFIG, WORK)["no source medquad"])
    assert not [source for source in config.data.shares if source.rpartition(":")[2] == "medquad"]
    assert "keyword:msdocs" in config.data.shares


def test_student_of_concat_finds_the_run_that_comes_before_it() -> None:
    every = changes(CONFIG, WORK)
    assert apply(CONFIG, "student", every["taught by concat"]).loss.teacher == "work/runs/concat/model"
    assert list(every).index("concat") < list(every).index("taught by concat")
