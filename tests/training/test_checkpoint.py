"""Checkpoints: what is saved comes back, and what does not fit is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from infembed.bundle import Tower
from infembed.errors import (
    AlteredArtefactError,
    MismatchedArtefactError,
    MissingArtefactError,
    NewerArtefactError,
    StorageError,
)
from infembed.inputs import TextInput
from tests.tiny import make_checkpoint
from tests.training.toy import toy_config, toy_model
from training.checkpoint import CHECKPOINT_FILE, go_on_from, load_checkpoint, read_manifest, restore, save_checkpoint
from training.config import LoraConfig
from training.model import InfEmbed, open_model, query_inputs

QUERIES = (("how about bread", "only child"), ("how about bread", None), ("bike brake", "only cost"))


def changed_model(directory: Path, *, seed: int = 0, **changes: Any) -> InfEmbed:
    """Make a model whose every trainable weight has moved."""
    toy_config(directory)
    torch.manual_seed(seed)
    model = open_model(toy_model(directory, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def vectors(model: InfEmbed) -> Tensor:
    documents = model.tokenize([TextInput("bread dough"), TextInput("the bike")])
    found = model(model.tokenize(query_inputs(QUERIES)), documents, chunk_tokens=100)
    return torch.cat([found.queries_QD, found.documents_ND]).detach()


def save(model: InfEmbed, out: Path) -> Path:
    save_checkpoint(model, out, name="toy", made_from={"rows": 3})
    return out


@pytest.mark.parametrize(
    ("lora", "tower"),
    [(LoraConfig(rank=4, alpha=8), tower) for tower in Tower] + [(None, Tower.SHARED), (None, Tower.FROZEN)],
)
def test_loaded_model_encodes_as_the_saved_one(tmp_path: Path, lora: LoraConfig | None, tower: Tower) -> None:
    model = changed_model(tmp_path, lora=lora, tower=tower)
    loaded = load_checkpoint(save(model, tmp_path / "saved"))
    torch.testing.assert_close(vectors(loaded), vectors(model), atol=1e-6, rtol=0)
    assert not loaded.training
    manifest = read_manifest(tmp_path / "saved")
    assert manifest.made_from == {"rows": 3}
    assert manifest.model == model.config


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    model = changed_model(tmp_path)
    monkeypatch.setattr("training.checkpoint.save_file", full)
    with pytest.raises(StorageError, match=r"factors.safetensors cannot be written: I/O error: .*; free some space"):
        save(model, tmp_path / "out" / "saved")
    assert not list((tmp_path / "out").iterdir())


def test_checkpoint_of_factors_is_small(tmp_path: Path) -> None:
    sizes = {}
    for name, lora in (("factors", LoraConfig(rank=1, alpha=8)), ("weights", None)):
        out = save(changed_model(tmp_path, lora=lora), tmp_path / name)
        sizes[name] = (out / f"{name}.safetensors").stat().st_size
        assert {path.name for path in out.iterdir()} == {CHECKPOINT_FILE, f"{name}.safetensors"}
    assert sizes["factors"] < sizes["weights"] / 4


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match=r"no checkpoint at .*nowhere .*infembed train"):
        load_checkpoint(tmp_path / "nowhere")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    out = save(changed_model(tmp_path), tmp_path / "saved")
    (out / "factors.safetensors").unlink()
    with pytest.raises(MissingArtefactError, match=r"has no file factors.safetensors; train the model again"):
        load_checkpoint(out)


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    out = save(changed_model(tmp_path), tmp_path / "saved")
    file = out / "factors.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(AlteredArtefactError, match=r"factors.safetensors has SHA-256 .*, its manifest records"):
        load_checkpoint(out)


def test_another_base_model_is_refused(tmp_path: Path) -> None:
    out = save(changed_model(tmp_path), tmp_path / "saved")
    make_checkpoint(tmp_path / "base", seed=1)
    with pytest.raises(MismatchedArtefactError, match=r"was trained on a base model with digest .*; get the model it"):
        load_checkpoint(out)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    out = save(changed_model(tmp_path), tmp_path / "saved")
    model = open_model(toy_model(tmp_path, lora=LoraConfig(rank=2, alpha=8)))
    with pytest.raises(
        MismatchedArtefactError, match=r"has shape \(4, .*\), the model needs \(2, .*another base model"
    ):
        restore(model, out)


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    model = changed_model(tmp_path)
    (tmp_path / "factors.safetensors").write_bytes(b"nonsense")
    with pytest.raises(AlteredArtefactError, match=r"factors.safetensors cannot be read: .*; train the model again"):
        restore(model, tmp_path)


def test_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    out = save(changed_model(tmp_path), tmp_path / "saved")
    values = json.loads((out / CHECKPOINT_FILE).read_text(encoding="utf-8"))
    (out / CHECKPOINT_FILE).write_text(json.dumps({**values, "schema_version": 2}), encoding="utf-8")
    with pytest.raises(NewerArtefactError, match="has schema version 2, .* reads version 1"):
        load_checkpoint(out)


def test_a_run_goes_on_from_a_model_configured_alike_and_from_no_other(tmp_path: Path) -> None:
    trained = changed_model(tmp_path, lora=LoraConfig(rank=4, alpha=8))
    saved = save(trained, tmp_path / "saved")
    fresh = open_model(trained.config).eval()
    go_on_from(fresh, saved)
    torch.testing.assert_close(vectors(fresh), vectors(trained), atol=1e-6, rtol=0)
    other = open_model(trained.config.model_copy(update={"lora": LoraConfig(rank=8, alpha=8)}))
    with pytest.raises(MismatchedArtefactError, match=r"trained with model\.lora = .*'rank': 4.*asks for .*'rank': 8"):
        go_on_from(other, saved)
