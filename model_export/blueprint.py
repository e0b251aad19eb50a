"""A model but for its weights: graphs, layout of the weight files and what a manifest says follow from it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from infembed.bundle import MaxTokens, Pooling, Tower
from infembed.config import Config, explain
from infembed.errors import AlteredArtefactError, MismatchedArtefactError, MissingArtefactError
from infembed.inputs import Fusion, InputType
from model_export.bert import BertShape, bert_values, roberta_values
from model_export.modernbert import ModernBertShape, modernbert_values

CONFIG_FILE = "config.json"
Shape = BertShape | ModernBertShape


class Blueprint(Config):
    """What decides the graphs of a model, and how it reads its inputs."""

    shape: Shape
    fusion: Fusion
    tower: Tower = Tower.SHARED
    has_factors: bool = Field(default=False, description="a query tower's own weights are the layers' matrices alone")
    pooling: Pooling
    pools_instruction: bool = False
    prompts: dict[InputType, str] = Field(default_factory=dict)
    max_tokens: MaxTokens

    @property
    def own_tensors(self) -> frozenset[str]:
        """The tensors that a query tower has beside the document tower's."""
        if self.tower is Tower.SHARED:
            return frozenset()
        recipes = [recipe for recipe in self.shape.tensors() if recipe.sources]
        if self.has_factors:
            recipes = [recipe for recipe in recipes if recipe.name.startswith("layer.") and len(recipe.shape) == 2]
        return frozenset(recipe.name for recipe in recipes)


_FAMILIES: dict[str, tuple[type[Shape], Callable[[Mapping[str, object]], dict[str, object]]]] = {
    "bert": (BertShape, bert_values),
    "roberta": (BertShape, roberta_values),
    "xlm-roberta": (BertShape, roberta_values),
    "modernbert": (ModernBertShape, modernbert_values),
}


def read_shape(checkpoint: Path) -> Shape:
    """Read a checkpoint's `config.json`; refuses families without graphs and numbers beyond any encoder's."""
    path = checkpoint / CONFIG_FILE
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingArtefactError(f"no model at {checkpoint}: the directory has no {CONFIG_FILE}") from error
    except (ValueError, RecursionError) as error:
        raise AlteredArtefactError(f"{path} is not valid JSON ({error}); get the checkpoint again") from error
    if not isinstance(config, dict) or config.get("model_type") not in _FAMILIES:
        found = config.get("model_type") if isinstance(config, dict) else None
        raise MismatchedArtefactError(
            f"{checkpoint} is a {found!r} model; InF-Embed exports {', '.join(sorted(_FAMILIES))} (E5, BGE, GTE and "
            "MiniLM are bert)"
        )
    kind, values_of = _FAMILIES[config["model_type"]]
    try:
        shape = kind.model_validate(values_of(config))
    except ValidationError as error:
        raise MismatchedArtefactError(f"{path}: {explain(error)}") from error
    if shape.dim % shape.n_heads or (isinstance(shape, ModernBertShape) and shape.head_dim % 2):
        raise MismatchedArtefactError(
            f"{path} has hidden_size {shape.dim}, which {shape.n_heads} attention heads do not divide evenly (rotary "
            "positions take halves of a head); get the checkpoint again"
        )
    return shape
