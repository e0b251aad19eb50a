"""Mined negatives against a search written out with loops."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from infembed.bundle import Tower
from tests.training.toy import losses, toy_config, toy_model, toy_rows, toy_steps
from training import mining
from training.config import DataConfig, LossConfig, TrainConfig
from training.corpus.rows import AnchoredPair
from training.encoder import TorchEncoder
from training.frozen_documents import encode_frozen
from training.losses import Term
from training.mining import Mined, hardest, limit, mine
from training.model import InfEmbed, open_model, query_inputs
from training.pairs import contrast
from training.run import train

PAIRS = [pair for row in toy_rows()[:6] for pair in row.pairs()]
MOST = 0.999  # a random model scores everything alike


def mined(model: InfEmbed, cache: Path, known: Sequence[AnchoredPair] = PAIRS, **changes: object) -> Mined:
    frozen = None
    if model.config.tower.keeps_documents:
        frozen = encode_frozen(model, [pair.document for pair in PAIRS], cache=cache)
    options: dict[str, object] = {"n": 3, "most": MOST, "start": None, "frozen": frozen, "cache": cache}
    return mine(model, PAIRS, known, **(options | changes))  # type: ignore[arg-type]


def picked(found: Mined, beside: Sequence[str] = ()) -> list[tuple[str, ...]]:
    return [found.pick(pair, beside) for pair in PAIRS]


def literal(model: InfEmbed, *, n: int) -> list[tuple[str, ...]]:
    """Rank every document for every pair; what the pairs call right, or scores too high, is passed over."""
    encoder = TorchEncoder(model)
    documents = list(dict.fromkeys(pair.document for pair in PAIRS))
    vectors = encoder.encode_documents(documents)
    found = []
    for pair in PAIRS:
        (query,) = encoder.encode_queries(query_inputs([(pair.query, pair.instruction)]))
        scores = {document: float(query @ vector) for document, vector in zip(documents, vectors, strict=True)}
        (wrong,) = contrast([pair], PAIRS).is_wrong_document_BN
        names = {other.document for other, is_wrong in zip(PAIRS, wrong.tolist(), strict=True) if is_wrong}
        kept = [document for document in names if scores[document] < MOST * scores[pair.document]]
        found.append(tuple(sorted(kept, key=lambda document: -scores[document])[:n]))
    return found


@pytest.mark.parametrize("tower", list(Tower))
def test_highest_scored_wrong_documents_below_the_limit_are_mined(
    tmp_path: Path, tower: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_config(tmp_path)
    model = open_model(toy_model(tmp_path, tower=tower))
    expected = literal(model, n=3)
    assert 0 < sum(map(len, expected)) < 3 * len(PAIRS)
    assert picked(mined(model, tmp_path / "whole")) == expected
    monkeypatch.setattr(mining, "_SCORES", 40)
    assert picked(mined(model, tmp_path / "in blocks")) == expected


def test_mined_once_is_read_the_second_time_and_mined_again_for_others(tmp_path: Path) -> None:
    toy_config(tmp_path)
    model = open_model(toy_model(tmp_path))
    reported: list[str] = []

    def report(what: str, *_: int) -> None:
        reported.append(what)

    first = mined(model, tmp_path / "cache", report=report)
    assert reported == ["mining negatives"]
    assert picked(mined(model, tmp_path / "cache", report=report)) == picked(first)
    assert reported == ["mining negatives"]
    for changes in ({"start": "another model"}, {"n": 2}, {"most": 0.9}, {"known": PAIRS[1:]}):
        reported.clear()
        mined(model, tmp_path / "cache", report=report, **changes)
        assert reported == ["mining negatives"]


def test_damaged_negatives_are_mined_again(tmp_path: Path) -> None:
    toy_config(tmp_path)
    model = open_model(toy_model(tmp_path))
    first = picked(mined(model, tmp_path / "cache"))
    (path,) = (tmp_path / "cache").rglob("*.npy")
    path.write_bytes(path.read_bytes()[:90])
    assert picked(mined(model, tmp_path / "cache")) == first


def test_document_that_a_row_elsewhere_calls_right_is_not_mined(tmp_path: Path) -> None:
    toy_config(tmp_path)
    model = open_model(toy_model(tmp_path))
    number, taken = next((n, texts) for n, texts in enumerate(literal(model, n=3)) if texts)
    elsewhere = PAIRS[number]._replace(document=taken[0])
    found = mined(model, tmp_path / "cache", known=[*PAIRS, elsewhere])
    assert taken[0] not in found.pick(PAIRS[number], ())


def test_what_stands_beside_a_pair_in_its_row_makes_room_for_the_next() -> None:
    pair = AnchoredPair("query", None, "document")
    found = Mined({pair: ("a", "b", "c", "d", "e")}, 3)
    assert found.pick(pair, ()) == ("a", "b", "c")
    assert found.pick(pair, {"b", "document"}) == ("a", "c", "d")


def test_hardest_are_the_highest_below_the_limit_filled_up_with_none() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.1]])
    is_wrong = torch.tensor([[True, True, True, True], [False, True, False, False]])
    assert hardest(scores, torch.tensor([0.8, 0.8]), is_wrong, n=3).tolist() == [[3, 2, 0], [1, -1, -1]]
    assert hardest(scores, torch.tensor([0.0, 0.0]), is_wrong, n=6).tolist() == [[-1] * 6] * 2


def test_limit_lies_below_a_positive_of_either_sign() -> None:
    assert limit(torch.tensor([0.8, -0.8, 0.0]), 0.95).tolist() == pytest.approx([0.76, -0.84, 0.0])


@pytest.mark.slow
@pytest.mark.parametrize("tower", list(Tower))
def test_run_contrasts_with_what_it_mined(tmp_path: Path, tower: Tower) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=2, rows_per_step=2))
    model = toy_model(tmp_path, tower=tower)
    first = {}
    for n in (0, 4):
        data = DataConfig(corpora=config.data.corpora, dev=config.data.dev, mined=n, mined_most=1.0)
        loss = LossConfig(terms=(Term.P,))
        changed = config.model_copy(update={"model": model, "data": data, "loss": loss})
        train(changed, tmp_path / f"run-{n}", cache=tmp_path / "cache")
        first[n] = losses(tmp_path / f"run-{n}")[1]
    assert first[4] > first[0]  # the same batch, with more in its denominators


def test_mining_without_term_p_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.mined adds negatives to term P, loss.terms is I; add P, or mine none"):
        TrainConfig(name="toy", loss=LossConfig(terms=(Term.I,)), data=DataConfig(mined=1))
