"""How a plain Hugging Face checkpoint is read: what sentence-transformers wrote beside it, else mean pooling.

BGE pools the first token, E5 wants prompts: a bundle that leaves them out works badly and says nothing.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from infembed.bundle import MaxTokens, Pooling, Tower
from infembed.config import Config, explain, shown
from infembed.errors import BadArtefactError, BadConfigError
from infembed.inputs import Fusion, InputType
from model_export.blueprint import Shape
from training.config import ModelConfig

_LONGEST = 512
_LEAST = 3
_PROMPTS = {"query": InputType.QUERY, "document": InputType.DOCUMENT, "passage": InputType.DOCUMENT}
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_MODE = "pooling_mode"
_POOLING = {"mean": Pooling.MEAN, "mean_tokens": Pooling.MEAN, "cls": Pooling.CLS, "cls_token": Pooling.CLS}
_T = TypeVar("_T")


class _Foreign(Config):
    """A file that sentence-transformers or transformers wrote; most of its keys do not matter here."""

    model_config = ConfigDict(extra="ignore")


class _Module(_Foreign):
    type: str


class _Lengths(_Foreign):
    max_seq_length: int | None = Field(default=None, ge=_LEAST)


class _TokenizerLengths(_Foreign):
    model_max_length: int | float | None = Field(default=None, ge=_LEAST)


class _Prompts(_Foreign):
    prompts: dict[str, str | None] | None = None


def plain_config(checkpoint: Path, shape: Shape, *, fusion: Fusion, max_tokens: int | None = None) -> ModelConfig:
    """Configure a checkpoint that InF-Embed did not train; `max_tokens` None: the model's own, at most 512."""
    for module in _read(checkpoint / "modules.json", list[_Module]) or []:
        if (kind := module.type.rpartition(".")[2]) not in _KNOWN_MODULES:
            raise BadArtefactError(
                f"{checkpoint} ends in a module {shown(kind)}, which graphs of InF-Embed do not have; export a model "
                f"of {', '.join(_KNOWN_MODULES)}"
            )
    longest = _longest(checkpoint, shape, max_tokens)
    half = min(longest, shape.n_positions // 2)
    if half < _LEAST:
        raise BadArtefactError(
            f"{checkpoint} has {shape.n_positions} positions, which leave {half} tokens each for query and "
            f"instruction; at least {_LEAST} are needed"
        )
    prompts = (_read(checkpoint / "config_sentence_transformers.json", _Prompts) or _Prompts()).prompts or {}
    known = {_PROMPTS[name]: text for name, text in prompts.items() if name in _PROMPTS and text}
    return ModelConfig(
        base=str(checkpoint),
        fusion=fusion,
        pooling=_pooling(checkpoint, has_prompts=bool(known)),
        tower=Tower.SHARED,
        prompts=known,
        max_tokens=MaxTokens(document=longest, query=half, instruction=half),
    )


def _longest(checkpoint: Path, shape: Shape, asked: int | None) -> int:
    """Return the longest text; sentence-transformers keeps it beside the model, since version 5 with the tokenizer."""
    if asked is not None:
        if asked > shape.n_positions:
            raise BadConfigError(
                f"--max-tokens {shown(asked)} is more than the {shape.n_positions} positions of {checkpoint}; lower it"
            )
        return asked
    beside = _read(checkpoint / "sentence_bert_config.json", _Lengths) or _Lengths()
    inside = _read(checkpoint / "tokenizer_config.json", _TokenizerLengths) or _TokenizerLengths()
    own = beside.max_seq_length or inside.model_max_length or _LONGEST
    return int(min(own, _LONGEST, shape.n_positions))


def _pooling(checkpoint: Path, *, has_prompts: bool) -> Pooling:
    """Read the pooling: one word since sentence-transformers 5, a switch for each kind before that."""
    path = checkpoint / "1_Pooling" / "config.json"
    found = _read(path, dict[str, JsonValue]) or {}
    if has_prompts and found.get("include_prompt") is False:
        raise BadArtefactError(f"{path} leaves prompts out of the pooling, which graphs of InF-Embed do not")
    modes = [key.removeprefix(f"{_MODE}_") for key, value in found.items() if key.startswith(f"{_MODE}_") and value]
    named = found.get(_MODE, modes or "mean")
    words = named if isinstance(named, list) else [named]
    if len(words) == 1 and isinstance(words[0], str) and words[0] in _POOLING:
        return _POOLING[words[0]]
    raise BadArtefactError(f"{path} pools {shown(named)}; InF-Embed pools the mean or the first token")


def _read(path: Path, kind: type[_T]) -> _T | None:
    """Read a JSON file of known form; None where there is none."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BadArtefactError(f"{path}: {explain(error)}; get the checkpoint again") from error
