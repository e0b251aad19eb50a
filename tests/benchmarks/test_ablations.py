import math
from pathlib import Path

import pytest

from benchmarks.ablation_tables import held_out_table, held_out_topics, means_table
from benchmarks.ablation_variants import HELD_OUT_SOURCES, HELD_OUT_TYPES, apply, changes, run_directory, without
from benchmarks.ablations import StepClock, by_width, other_runs, untrained_model
from evaluation.report import Measure, ModelIdentity, Report, SuiteScores, TopicScores
from infembed.bundle import MaxTokens, Tower
from infembed.inputs import Fusion
from training.config import ModelConfig, TrainConfig
from training.corpus.rows import InstructionType
from training.model import open_model
from training.run_directory import CONFIG_FILE

RELEASE = Path(__file__).parents[2] / "configs/train-release.toml"


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return TrainConfig.from_toml(RELEASE)


def test_every_variant_is_a_run_that_can_be_trained(config: TrainConfig, tmp_path: Path) -> None:
    found = {name: apply(config, name, change) for name, change in changes(config, tmp_path).items()}
    assert len({variant.name for variant in found.values()}) == len(found)
    assert found["as configured"].model == config.model
    assert found["second seed"].seed == config.seed + 1
    assert found["shared tower"].model.tower is Tower.SHARED


def test_student_of_concat_finds_the_run_that_comes_before_it(config: TrainConfig, tmp_path: Path) -> None:
    every = changes(config, tmp_path)
    assert apply(config, "student", every["taught by concat"]).loss.teacher == str(tmp_path / "runs/concat/model")
    assert list(every).index("concat") < list(every).index("taught by concat")


def test_every_type_and_every_source_is_held_out_once(config: TrainConfig) -> None:
    types = [name for names in HELD_OUT_TYPES for name in names]
    sources = [name for names in HELD_OUT_SOURCES for name in names]
    assert sorted(types) == sorted(kind for kind in InstructionType if kind is not InstructionType.PLAIN)
    assert sorted(sources) == sorted({name.rpartition(":")[2] for name in config.data.shares})


def test_a_source_is_held_out_in_every_form(config: TrainConfig, tmp_path: Path) -> None:
    change = changes(config, tmp_path)[without(("medquad", "pubmedqa"))]
    shares = apply(config, "x", change).data.shares
    assert not [name for name in shares if "medquad" in name or "pubmedqa" in name]
    assert "keyword:msdocs" in shares


def test_held_out_topics_are_those_of_the_types_or_of_the_source() -> None:
    topics = [_topic("1", {"time": 0.1}), _topic("2", {"time": 0.2, "facet": 0.4}), _topic("3", {"facet": 0.5})]
    report = _report(_suite("instruct-mini", topics), _suite("dev-keyword_medquad", topics[:2]))
    both = {"instruct-mini": {"1": 0.1, "2": 0.2}, "dev-keyword_medquad": {"1": 0.1, "2": 0.2}}
    assert held_out_topics(report, ("time", "place"), Measure.P_MRR) == both
    assert {suite: [*values] for suite, values in held_out_topics(report, ("time",), Measure.PAIRWISE).items()} == {
        "instruct-mini": ["1"],
        "dev-keyword_medquad": ["1"],
    }
    by_source = held_out_topics(report, ("medquad",), Measure.P_MRR)
    assert {suite: len(values) for suite, values in by_source.items()} == {"dev-keyword_medquad": 2}
    parts = _report(*(_suite(f"dev-{part}inf-ir-mini", topics[:1]) for part in ("", "like_", "stance_", "kinds_")))
    assert len(held_out_topics(parts, ("inf-ir-mini",), Measure.P_MRR)) == 4


def test_what_was_held_out_stands_beside_both_models_topic_by_topic() -> None:
    untrained, configured, held_out = (
        _report(_suite("instruct-mini", [_topic(str(n), {"time": n / 100 + gain}) for n in range(20)]))
        for gain in (0.0, 0.3, 0.1)
    )
    name = without(("time", "place", "conjunction"))
    header, _, row, *_ = held_out_table({"untrained prefix": untrained, "as configured": configured, name: held_out})
    assert header.endswith("without its rows, beside untrained prefix | without its rows, beside as configured |")
    assert row.startswith("| time, place, conjunction: p-MRR | 20 | 9.5 [")
    assert row.endswith("| 10.0 [10.0, 10.0] | -20.0 [-20.0, -20.0] |")


def test_means_stand_beside_the_run_as_configured_topic_by_topic() -> None:
    first, second = (
        _report(_suite("s", [_topic(str(n), {"time": n / 100 + gain}) for n in range(20)])) for gain in (0.0, 0.1)
    )
    lines = means_table({"as configured": first, "P": second})
    assert lines[0].startswith("| variant | p-MRR beside as configured | p-MRR |")
    assert lines[2].startswith("| as configured |  | 9.5 [")
    assert lines[3].startswith("| P | 10.0 [10.0, 10.0] | 19.5 [")


def test_fusions_are_what_their_rows_say_whatever_the_file_says(config: TrainConfig, tmp_path: Path) -> None:
    model = config.model.model_copy(update={"fusion": Fusion.CONCAT, "tower": Tower.SHARED})
    paper = config.model_copy(update={"model": model})
    found = {name: apply(paper, name, change).model for name, change in changes(paper, tmp_path).items()}
    assert {name: found[name].fusion for name in Fusion} == {name: name for name in Fusion}
    assert found["prefix, pooled over all"].fusion is Fusion.PREFIX


def test_the_untrained_model_reads_texts_as_the_run_does(config: TrainConfig) -> None:
    read = {"pooling": "cls", "prompts": {"query": "query: "}}
    steered = ModelConfig.model_validate(config.model.model_dump() | read)
    model = untrained_model(steered, Fusion.CONCAT)
    assert (model.pooling, model.prompts) == (steered.pooling, steered.prompts)
    assert (model.fusion, model.lora) == (Fusion.CONCAT, None)


def test_some_variants_are_scored_at_narrower_widths_too(tiny_bundle: Path, tmp_path: Path) -> None:
    base = str(tiny_bundle.with_name("checkpoint"))
    max_tokens = MaxTokens(document=32, query=24, instruction=16)
    model = open_model(ModelConfig(base=base, fusion=Fusion.CONCAT, max_tokens=max_tokens))
    whole, *cut = by_width("Matryoshka", model, tmp_path, widths=(16, 8))
    assert [label for label, _ in (whole, *cut)] == ["Matryoshka", "Matryoshka, 16 values", "Matryoshka, 8 values"]
    assert [scored.scored_as.dimensions for _, scored in (whole, *cut)] == [None, 16, 8]
    assert len({scored.scored_as.digest for _, scored in (whole, *cut)}) == 3
    assert [label for label, _ in by_width("P", model, tmp_path)] == ["P"]


def test_a_run_of_another_configuration_is_found_before_it_is_shown_as_this_one(
    config: TrainConfig, tmp_path: Path
) -> None:
    every = changes(config, tmp_path)
    for name in ("P", "I"):
        out = run_directory(tmp_path, name)
        out.mkdir(parents=True)
        variant = apply(config, name, every[name])
        (out / CONFIG_FILE).write_text(variant.model_copy(update={"seed": 42 + (name == "I")}).model_dump_json())
    assert other_runs(config, every, tmp_path) == [run_directory(tmp_path, "I")]


def test_seconds_are_those_of_the_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 12.0, 14.0, 60.0])
    monkeypatch.setattr("benchmarks.ablations.time.monotonic", lambda: next(now))
    passed: list[tuple[str, int, int]] = []
    clock = StepClock(lambda *progress: passed.append(progress))
    clock("documents", 5, 5)
    for step in (2, 3, 4, 5):  # a run that goes on from its first step, and scores dev before the last
        clock("training", step, 5)
    assert clock.seconds == 10
    assert passed[0] == ("documents", 5, 5)
    assert len(passed) == 5


def test_one_step_says_nothing_of_its_seconds() -> None:
    clock = StepClock(lambda *_: None)
    clock("training", 1, 1)
    assert math.isnan(clock.seconds)


def _topic(name: str, by_type: dict[str, float]) -> TopicScores:
    mean = sum(by_type.values()) / len(by_type)
    return TopicScores(topic=name, values={Measure.P_MRR: mean, Measure.PAIRWISE: 1.0}, by_type=by_type)


def _suite(name: str, topics: list[TopicScores]) -> SuiteScores:
    return SuiteScores(suite=name, digest="0" * 64, n_documents=3, n_queries=3, topics=tuple(topics))


def _report(*suites: SuiteScores) -> Report:
    model = ModelIdentity(name="m", digest="d", document_fingerprint="f")
    return Report(model=model, created_at="2026-11-28T00:00:00Z", suites=suites)
