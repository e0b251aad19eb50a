"""How a plain Hugging Face checkpoint is read: what sentence-transformers wrote beside it, else mean pooling.

BGE pools the first token, E5 wants prompts: a bundle that leaves them out works badly and says nothing.
"""

import json
from pathlib import Path
from typing import Any

from infembed.bundle import MaxTokens, Pooling, Tower
from infembed.errors import BadArtefactError
from infembed.inputs import Fusion, InputType
from model_export.blueprint import Shape
from training.config import ModelConfig

_LONGEST = 512
_PROMPTS = {"query": InputType.QUERY, "document": InputType.DOCUMENT, "passage": InputType.DOCUMENT}
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


def plain_config(checkpoint: Path, shape: Shape, *, fusion: Fusion, max_tokens: int | None = None) -> ModelConfig:
    """Configure a checkpoint that InF-Embed did not train; `max_tokens` None: the model's own, at most 512."""
    for module in _read(checkpoint / "modules.json") or []:
        if (kind := str(module.get("type", "")).rpartition(".")[2]) not in _KNOWN_MODULES:
            raise BadArtefactError(
                f"{checkpoint} ends in a module {kind}, which graphs of InF-Embed do not have; export a model of "
                f"{', '.join(_KNOWN_MODULES)}"
            )
    own = (_read(checkpoint / "sentence_bert_config.json") or {}).get("max_seq_length") or _LONGEST
    longest = min(max_tokens or min(int(own), _LONGEST), shape.n_positions)
    half = min(longest, shape.n_positions // 2)
    prompts = (_read(checkpoint / "config_sentence_transformers.json") or {}).get("prompts") or {}
    return ModelConfig(
        base=str(checkpoint),
        fusion=fusion,
        pooling=_pooling(checkpoint),
        tower=Tower.SHARED,
        prompts={_PROMPTS[name]: text for name, text in prompts.items() if name in _PROMPTS and text},
        max_tokens=MaxTokens(document=longest, query=half, instruction=half),
    )


def _pooling(checkpoint: Path) -> Pooling:
    path = checkpoint / "1_Pooling" / "config.json"
    modes = {key for key, value in (_read(path) or {}).items() if key.startswith("pooling_mode_") and value is True}
    if modes <= {"pooling_mode_mean_tokens"}:
        return Pooling.MEAN
    if modes == {"pooling_mode_cls_token"}:
        return Pooling.CLS
    raise BadArtefactError(f"{path} has {', '.join(sorted(modes))}; InF-Embed pools the mean or the first token")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise BadArtefactError(f"{path} is not valid JSON ({error}); get the checkpoint again") from error
