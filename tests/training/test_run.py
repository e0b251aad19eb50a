"""A training run from its configuration to a model."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import EarlyStoppingCallback

from evaluation.registry.mlflow_library import MlflowClient
from infembed.bundle import Tower
from infembed.errors import NonFiniteError
from infembed.inputs import Fusion, TextInput
from tests.training.toy import (
    break_at,
    break_gradient_at,
    losses,
    read_curve,
    run,
    toy_config,
    toy_model,
    toy_rows,
    toy_steps,
    write_rows,
)
from training.checkpoint import load_checkpoint, read_manifest
from training.config import Arithmetic, LossConfig
from training.dev import DevScore
from training.encoder import TorchEncoder
from training.losses import Join, Term
from training.mixture import make_mixture
from training.model import InfEmbed, open_model, query_inputs
from training.objective import batch_loss
from training.pairs import make_batch
from training.run import train
from training.tracking import EXPERIMENT, Tracking
from training.trainer import Batches

TEXTS = ("bread dough", "the bike brake is a risk")


def document_vectors(model: InfEmbed) -> Tensor:
    return torch.from_numpy(TorchEncoder(model).encode_documents(TEXTS))


def query_vectors(model: InfEmbed, instruction: str | None = None) -> Tensor:
    return torch.from_numpy(TorchEncoder(model).encode_queries(query_inputs([(text, instruction) for text in TEXTS])))


@pytest.mark.slow
def test_loss_falls_and_the_toy_wish_is_learned(tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=40, evaluate_every=20))
    trained = run(config, tmp_path)
    curve = losses(tmp_path / "run")
    assert list(curve) == list(range(1, 41))
    assert sum(curve[step] for step in range(36, 41)) < 0.8 * sum(curve[step] for step in range(1, 6))
    assert trained.after.p_mrr > trained.before.p_mrr + 0.05
    assert not trained.is_resumed
    saved = read_manifest(trained.model)
    assert saved.made_from["config"] == config.model_dump(mode="json")
    assert saved.made_from["rows"] == {"toy-child": 9, "toy-cost": 9, "toy-guide": 9}


@pytest.mark.slow
def test_dev_is_scored_at_the_last_step_and_the_best_checkpoint_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.0, 0.1, 0.9, 0.2, 0.3, 0.25])  # before, steps 2, 4, 6, 8, and after

    def score(*_: object) -> DevScore:
        return DevScore(p_mrr=next(scores), pairwise=0.5, ndcg=0.5, plain_ndcg=0.0)

    monkeypatch.setattr("training.run.score_dev", score)
    monkeypatch.setattr("training.trainer.score_dev", score)
    seen: dict[int, Tensor] = {}

    class Watching(EarlyStoppingCallback):  # type: ignore[misc]
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **more: Any) -> None:
            seen[state.global_step] = query_vectors(more["model"], "only child")
            super().on_evaluate(args, state, control, metrics, **more)

    monkeypatch.setattr("training.run.EarlyStoppingCallback", Watching)
    steps = toy_steps(max_steps=50, evaluate_every=2, patience=2)
    trained = run(toy_config(tmp_path, steps=steps), tmp_path)
    assert (trained.n_steps, trained.best_step) == (8, 4)
    kept = query_vectors(load_checkpoint(trained.model), "only child")
    torch.testing.assert_close(kept, seen[4], atol=1e-4, rtol=0)  # factors are rounded at the end
    assert float((kept - seen[8]).abs().max()) > 1e-3
    left = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert left == {"checkpoint-4", "checkpoint-8"}


@pytest.mark.slow
def test_last_step_is_scored_where_it_is_no_multiple(tmp_path: Path) -> None:
    run(toy_config(tmp_path, steps=toy_steps(max_steps=5, evaluate_every=3, log_every=2)), tmp_path)
    points = read_curve(tmp_path / "run")
    assert [point["step"] for point in points if "eval_p_mrr" in point] == [3, 5]
    assert [point["step"] for point in points if "loss" in point] == [2, 3, 4, 5]


@pytest.mark.slow
def test_frozen_documents_stay_those_of_the_base_model(tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=2))
    base = open_model(config.model)
    trained = load_checkpoint(run(config, tmp_path).model)
    assert torch.equal(document_vectors(trained), document_vectors(base))
    weights, expected = trained.document_tower.encoder.state_dict(), base.document_tower.encoder.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert float((query_vectors(trained) - query_vectors(base)).abs().max()) > 1e-3


@pytest.mark.slow
def test_a_steered_model_learns_and_leaves_plain_queries_and_documents_as_they_were(tmp_path: Path) -> None:
    toy_config(tmp_path)
    config = toy_config(tmp_path, model=toy_model(tmp_path, tower=Tower.STEERED), loss=LossConfig(share=0.1))
    found = run(config, tmp_path)
    assert losses(tmp_path / "run")[6] < losses(tmp_path / "run")[1]
    model, base = load_checkpoint(found.model), open_model(config.model)
    assert torch.equal(query_vectors(model), query_vectors(base))
    wished = model.tokenize(query_inputs([("how about bread", "only child")]))
    asked = [m(wished, [], chunk_tokens=512).queries_QD.detach() for m in (model, base)]
    assert float((asked[0] - asked[1]).abs().max()) > 1e-3


@pytest.mark.slow
def test_documents_of_a_shared_tower_move(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    config = toy_config(tmp_path, model=toy_model(tmp_path, tower=Tower.SHARED), steps=toy_steps(max_steps=2))
    trained = load_checkpoint(run(config, tmp_path).model)
    base = open_model(config.model)
    assert float((document_vectors(trained) - document_vectors(base)).abs().max()) > 1e-3


POSSIBLE = [
    (fusion, tower)
    for fusion, tower in itertools.product(Fusion, Tower)
    if tower is not Tower.STEERED or fusion is Fusion.PREFIX
]
TERMS = [chosen for n in (1, 2, 3) for chosen in itertools.combinations(Term, n)]


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "tower"), POSSIBLE)
def test_every_fusion_trains_with_every_tower(tmp_path: Path, fusion: Fusion, tower: Tower) -> None:
    toy_config(tmp_path)
    config = toy_config(
        tmp_path,
        model=toy_model(tmp_path, fusion=fusion, tower=tower),
        loss=LossConfig(terms=tuple(Term), share=0.2),
        steps=toy_steps(max_steps=2, rows_per_step=4),
    )
    run(config, tmp_path)
    assert set(losses(tmp_path / "run")) == {1, 2}


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "tower"), POSSIBLE)
def test_two_steps_of_every_loss_with_every_fusion_and_tower_lower_it(
    tmp_path: Path, fusion: Fusion, tower: Tower
) -> None:
    toy_config(tmp_path)
    batch = make_batch(toy_rows()[:4], share=0.2, seed=0)
    for terms, join in itertools.product(TERMS, Join):
        changes = {} if tower is Tower.STEERED else {"lora": None}
        model = open_model(toy_model(tmp_path, fusion=fusion, tower=tower, **changes))
        loss_config = LossConfig(terms=terms, join=join, share=0.2)
        optimizer = torch.optim.SGD(model.query_tower.parameters(), lr=1e-3)
        queries = model.tokenize(query_inputs(batch.queries))
        documents = model.tokenize([TextInput(text) for text in batch.documents])
        found = []
        for _ in range(3):
            loss = batch_loss(batch, model(queries, documents, chunk_tokens=512), loss_config)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            found.append(float(loss.detach()))
        assert found[2] < found[0], f"{join}{terms}"


@pytest.mark.slow
@pytest.mark.parametrize("tower", [Tower.SHARED, Tower.FROZEN])
def test_training_without_instructions_uses_the_same_pairs(tmp_path: Path, tower: Tower) -> None:
    toy_config(tmp_path)
    loss = LossConfig(terms=(Term.P,), with_instructions=False)
    config = toy_config(tmp_path, model=toy_model(tmp_path, tower=tower, lora=None), loss=loss)
    run(config, tmp_path)
    assert len(losses(tmp_path / "run")) == 6


@pytest.mark.slow
@pytest.mark.parametrize("tower", [Tower.SHARED, Tower.FROZEN])
def test_plain_weight_holds_plain_queries_where_they_were(tmp_path: Path, tower: Tower) -> None:
    toy_config(tmp_path)
    moved = {}
    for weight in (0.0, 20.0):
        config = toy_config(
            tmp_path,
            model=toy_model(tmp_path, tower=tower),
            loss=LossConfig(plain_weight=weight),
            steps=toy_steps(max_steps=15, evaluate_every=15),
        )
        trained = load_checkpoint(train(config, tmp_path / f"{weight}", cache=tmp_path / "cache").model)
        plain = query_vectors(open_model(config.model))
        moved[weight] = float((1 - (query_vectors(trained) * plain).sum(dim=1)).mean())
    assert moved[20.0] < 0.5 * moved[0.0]


@pytest.mark.slow
def test_bf16_trains_on_a_cpu(tmp_path: Path) -> None:
    run(toy_config(tmp_path, steps=toy_steps(max_steps=2, precision=Arithmetic.BF16)), tmp_path)
    assert len(losses(tmp_path / "run")) == 2


@pytest.mark.slow
def test_dev_is_scored_in_fp32_whatever_the_steps_compute_in(tmp_path: Path) -> None:
    toy_config(tmp_path)
    steps = toy_steps(max_steps=2, precision=Arithmetic.BF16)
    config = toy_config(tmp_path, model=toy_model(tmp_path, tower=Tower.SHARED), steps=steps)
    seen: list[float] = []

    class Watching(EarlyStoppingCallback):  # type: ignore[misc]
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **more: Any) -> None:
            vectors = query_vectors(more["model"], "only child"), document_vectors(more["model"])
            seen.extend(float(x.sum()) for x in vectors)
            super().on_evaluate(args, state, control, metrics, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.run.EarlyStoppingCallback", Watching)
        kept = load_checkpoint(run(config, tmp_path).model)
    assert seen == pytest.approx(
        [float(query_vectors(kept, "only child").sum()), float(document_vectors(kept).sum())], abs=1e-5
    )


def test_sources_may_have_names_that_mlflow_does_not_take(tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=1))
    write_rows(tmp_path / "train.jsonl", [row.model_copy(update={"source": "tøy#1"}) for row in toy_rows()[:27]])
    data = config.data.model_copy(update={"shares": {"tøy#1": 1.0}})
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run(config.model_copy(update={"data": data}), tmp_path, tracking=Tracking(uri))
    (found,) = tracked(uri)
    assert found.data.params["data.shares"] == "{'tøy#1': 1.0}"


@pytest.mark.slow
def test_loss_that_is_no_number_stops_the_run_and_shows_its_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at(3, monkeypatch)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(NonFiniteError, match=r"loss of step 3 is not a finite number; its 24 pairs are in .*jsonl"):
        run(toy_config(tmp_path), tmp_path, tracking=Tracking(uri))
    lines = (tmp_path / "run" / "not-finite-step-3.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 24
    assert set(json.loads(lines[0])) == {"query", "instruction", "document"}
    assert not (tmp_path / "run" / "model").exists()
    (found,) = tracked(uri)
    assert found.info.status == "FAILED"


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradient_that_is_no_number_stops_the_run_before_it_touches_a_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    break_gradient_at(3, value, monkeypatch)
    match = r"gradient of step 3 is not a finite number; its 24 pairs are in .*not-finite-step-3.jsonl"
    with pytest.raises(NonFiniteError, match=match):
        run(toy_config(tmp_path), tmp_path)
    lines = (tmp_path / "run" / "not-finite-step-3.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 24
    assert not (tmp_path / "run" / "model").exists()
    assert set(losses(tmp_path / "run")) == {1, 2}
    kept = load_checkpoint(tmp_path / "run" / "checkpoints" / "checkpoint-2" / "weights")
    assert all(parameter.isfinite().all() for parameter in kept.parameters())


def tracked(uri: str) -> list[Any]:
    client = MlflowClient(tracking_uri=uri)
    return list(client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id]))


@pytest.mark.slow
def test_mlflow_holds_parameters_loss_gradient_norm_and_dev_scores(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    trained = run(toy_config(tmp_path), tmp_path, tracking=Tracking(uri))
    (found,) = tracked(uri)
    assert found.info.status == "FINISHED"
    assert found.data.params["model.fusion"] == "prefix"
    assert found.data.params["loss.terms"] == "['P', 'I']"
    client = MlflowClient(tracking_uri=uri)
    logged = {point.step: point.value for point in client.get_metric_history(found.info.run_id, "loss")}
    assert logged == pytest.approx(losses(tmp_path / "run"))
    assert {"grad_norm", "learning_rate", "eval_p_mrr", "eval_ndcg", "eval_plain_ndcg"} <= set(found.data.metrics)
    assert trained.best_step in {point.step for point in client.get_metric_history(found.info.run_id, "eval_combined")}


def test_ranks_share_the_rows_of_a_step(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    mixture = make_mixture(toy_rows(), config.data, n_drawn=8, seed=1)
    whole = Batches(mixture, config)[3].pairs
    shares = [Batches(mixture, config, rank=rank, n_ranks=3)[3].pairs for rank in range(3)]
    assert sorted(pair for share in shares for pair in share) == sorted(whole)
    assert [len(share) for share in shares] == [9, 9, 6]


def test_only_the_factors_of_the_query_tower_are_trained(tmp_path: Path) -> None:
    toy_config(tmp_path)
    model = open_model(toy_model(tmp_path), keeps_base=True)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(name.startswith("query_tower.") and "lora_" in name for name in trained)
