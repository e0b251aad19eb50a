"""Two scenarios with a tiny model, all else real. `make canary-rehearsal` has every scenario with the real models."""

import shutil
from pathlib import Path

import pytest

from deploy.rehearsal.ending import Ending, check_ending
from deploy.rehearsal.load import Question
from deploy.rehearsal.manifests import read_plan
from deploy.rehearsal.rollout import Rollout
from deploy.rehearsal.scenarios import SCENARIOS
from deploy.rehearsal.stage import Stage, empty_registry
from deploy.rehearsal.texts import questions_of, read_texts
from deploy.rehearsal.world import Pace, World
from index.build import build_collection
from infembed.encoder import OnnxEncoder
from tests.evaluation.registry.registries import judge
from tests.tiny import WORDS, make_tiny_bundle

UNTOLD = frozenset({"inf-embed-gate", "inf-embed-canary"})
"""A random model has nothing to tell these two."""


def make_collection(path: Path, bundle: Path, *, n_passages: int) -> Path:
    passages = path.parent / f"{n_passages}.jsonl"
    passages.parent.mkdir(parents=True)
    passages.write_text("".join(f'{{"id": "{n}", "text": "{WORDS[n]} {WORDS[n + 1]}"}}\n' for n in range(n_passages)))
    build_collection(passages, path, encoder=OnnxEncoder.open(bundle, n_threads=1), bundle_name="tiny")
    return path


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Two random models that need an index each."""
    untrained, released = (make_tiny_bundle(tmp_path / name, seed=seed) for seed, name in enumerate(("old", "new")))
    return Stage(
        untrained=untrained,
        released=released,
        blue=make_collection(tmp_path / "blue" / "demo", untrained, n_passages=9),
        green=make_collection(tmp_path / "green" / "demo", released, n_passages=12),
        queries=tmp_path / "queries.jsonl",
        questions=tuple(Question(f"{word} bread", "for a child") for word in WORDS),
        gate_cache=tmp_path / "evaluation",
        empty_registry=empty_registry(tmp_path / "empty"),
    )


def rehearse(name: str, stage: Stage, directory: Path) -> Ending:
    """Roll a scenario's candidate out; the gate's decision is there already."""
    for tool, package in (("nginx", "nginx-light"), ("prometheus", "prometheus")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian: {package})")
    (scenario,) = (found for found in SCENARIOS if found.name == name)
    said: list[str] = []
    plan = read_plan()
    with World(plan, scenario, stage, directory, pace=Pace(speed_up=30, rate=40), say=said.append) as world:
        write_decision(stage, directory / "reports")
        before = world.champion()
        outcome = Rollout(plan, world, speed_up=30, say=said.append).run(without=UNTOLD)
        ended_at = world.now()
        world.clients.wait_for(20)
        world.clients.stop()
        ending = check_ending(
            scenario,
            outcome,
            answers=world.clients.answers(),
            n_sent=world.clients.n_sent,
            ended_at=ended_at,
            before=before,
            after=world.champion(),
        )
    return ending._replace(lines=(*said, *ending.lines))


def write_decision(stage: Stage, reports: Path) -> None:
    """Put a PASS about the two bundles where the gate would."""
    files = judge(stage.untrained, stage.released, reports)
    files.champion.rename(reports / "decision.champion.json")
    files.candidate.rename(reports / "decision.candidate.json")


@pytest.mark.slow
def test_a_candidate_that_answers_errors_is_rolled_back_and_nobody_else_loses_an_answer(
    stage: Stage, tmp_path: Path
) -> None:
    ending = rehearse("errors", stage, tmp_path / "run")
    assert ending.is_right, "\n".join(ending.lines)


@pytest.mark.slow
def test_a_good_candidate_is_promoted_with_its_index(stage: Stage, tmp_path: Path) -> None:
    ending = rehearse("good", stage, tmp_path / "run")
    assert ending.is_right, "\n".join(ending.lines)


def test_questions_are_of_topics_whose_documents_are_searched() -> None:
    texts = read_texts()
    ids = {passage["id"] for passage in texts.passages}
    assert len(ids) == len(texts.passages)
    assert all(set(probe["withdrawn"]) <= ids for probe in texts.probes)
    assert len({probe["query"] for probe in texts.probes}) >= 50
    assert len(questions_of(texts)) == len(texts.probes) + len(texts.shadows)
