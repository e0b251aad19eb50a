"""From a training checkpoint to the bundle that is served: the same vectors, or a refusal."""

from pathlib import Path

import numpy as np
import pytest

from infembed.bundle import Tower
from infembed.encoder import OnnxEncoder
from infembed.errors import BadConfigError, MissingArtefactError
from model_export.assemble import assemble
from model_export.trained import recipe_of_checkpoint
from tests.tiny import base_weights
from tests.training.test_checkpoint import QUERIES, changed_model, save
from training.config import LoraConfig
from training.encoder import TorchEncoder
from training.model import query_inputs

LORA = LoraConfig(rank=4, alpha=8)


def test_the_bundle_of_a_trained_checkpoint_gives_its_vectors(tmp_path: Path) -> None:
    model = changed_model(tmp_path, lora=LORA)
    base = Path(model.config.base)
    recipe_of_checkpoint(
        tmp_path / "recipe", save(model, tmp_path / "model"), base=base_weights(base), base_checkpoint=base
    )
    assemble(tmp_path / "recipe", tmp_path / "bundle", weights=base)
    trained, served = TorchEncoder(model), OnnxEncoder.open(tmp_path / "bundle")
    queries = query_inputs(QUERIES)
    np.testing.assert_allclose(served.encode_queries(queries), trained.encode_queries(queries), atol=2e-3)
    np.testing.assert_allclose(served.encode_documents(["bread"]), trained.encode_documents(["bread"]), atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "words"), [({"lora": None}, "whole weights"), ({"lora": LORA, "tower": Tower.SHARED}, "tower shared")]
)
def test_what_a_recipe_of_factors_cannot_hold_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    model = changed_model(tmp_path, **changes)
    base = Path(model.config.base)
    with pytest.raises(BadConfigError, match=words):
        recipe_of_checkpoint(
            tmp_path / "recipe", save(model, tmp_path / "model"), base=base_weights(base), base_checkpoint=base
        )
    assert not (tmp_path / "recipe").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    base = Path(changed_model(tmp_path, lora=LORA).config.base)
    with pytest.raises(MissingArtefactError, match="no checkpoint at"):
        recipe_of_checkpoint(tmp_path / "recipe", tmp_path / "none", base=base_weights(base), base_checkpoint=base)
