"""A Hugging Face encoder that takes a block of instruction tokens before the text.

Families differ in how they take masks and positions; everything that does is here. Legend: B rows, T tokens, D dim.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from infembed.errors import BadArtefactError, BadConfigError, MissingArtefactError
from training.tokens import TokenBatch

_OF_A_LAYER = re.compile(r"\blayers?\.\d+\.")


class Backbone(nn.Module):
    """Token states of an encoder under a batch's own rules of who sees whom."""

    def __init__(self, encoder: PreTrainedModel, family: "Family", *, pad_id: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pad_id = pad_id
        self._family = family
        self._shape = (0, 0)
        self._instruction_places_M: Tensor | None = None

    @property
    def dim(self) -> int:
        return int(self.encoder.config.hidden_size)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.encoder.parameters()).device
        return device

    @property
    def n_positions(self) -> int:
        """Most tokens of one sequence, instruction included."""
        return self._family.n_positions(self.encoder.config)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Encode a batch; (B, T, D). Without instructions this is the encoder as it was pretrained."""
        self._shape = (len(batch.ids_BT), batch.ids_BT.shape[1])
        self._instruction_places_M = batch.is_instruction_BT.flatten().nonzero().squeeze(1)
        mask = batch.sees_BTT if batch.has_instruction else batch.is_token_BT
        states: Tensor = self._family.encode(self.encoder, batch.ids_BT, batch.positions_BT, mask)
        return states

    def take_instructions(self, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Give a module inside the encoder the states (M, D) of instruction tokens alone; a hook before it."""
        (states_BTD,) = inputs
        return (states_BTD.flatten(0, 1).index_select(0, self._places()),)

    def put_back(self, _module: nn.Module, _inputs: Any, output_MD: Tensor) -> Tensor:
        """Put what it made of them in their places (B, T, D), zero elsewhere; a hook after it."""
        n_rows, n_tokens = self._shape
        everywhere = output_MD.new_zeros((n_rows * n_tokens, output_MD.shape[1]))
        return everywhere.index_copy(0, self._places(), output_MD).view(n_rows, n_tokens, -1)

    def _places(self) -> Tensor:
        assert self._instruction_places_M is not None, "the encoder runs within forward"
        return self._instruction_places_M


class Family(Protocol):
    """What a kind of encoder needs to read instruction and text as one sequence."""

    def encode(self, encoder: PreTrainedModel, ids_BT: Tensor, positions_BT: Tensor, mask: Tensor) -> Tensor:
        """Return token states (B, T, D); `mask` is (B, T) or (B, T, T), True where a token may be seen."""
        ...

    def n_positions(self, config: Any) -> int: ...


class BertFamily:
    """BERT and what is built like it: E5, BGE, GTE, MiniLM (absolute positions from 0), XLM-R (after padding's)."""

    def __init__(self, *, starts_after_padding: bool = False) -> None:
        self._starts_after_padding = starts_after_padding

    def encode(self, encoder: PreTrainedModel, ids_BT: Tensor, positions_BT: Tensor, mask: Tensor) -> Tensor:
        positions = positions_BT + self._first_position(encoder.config)
        output = encoder(
            input_ids=ids_BT,
            attention_mask=mask.long(),
            position_ids=positions,
            token_type_ids=torch.zeros_like(ids_BT),  # its own end at the last position, packs of short texts go on
        )
        states: Tensor = output.last_hidden_state
        return states

    def n_positions(self, config: Any) -> int:
        return int(config.max_position_embeddings) - self._first_position(config)

    def _first_position(self, config: Any) -> int:
        return int(config.pad_token_id) + 1 if self._starts_after_padding else 0


class ModernBertFamily:
    """ModernBERT: rotary positions, and layers that see a window of tokens only.

    Its own forward takes no block masks, so the layers are run here, one after another.
    """

    def encode(self, encoder: PreTrainedModel, ids_BT: Tensor, positions_BT: Tensor, mask: Tensor) -> Tensor:
        net: Any = encoder
        sees = mask[:, None, :, :] if mask.dim() == 3 else mask[:, None, None, :].expand(-1, 1, ids_BT.shape[1], -1)
        distance = (positions_BT[:, None, :, None] - positions_BT[:, None, None, :]).abs()
        itself = torch.eye(ids_BT.shape[1], dtype=torch.bool, device=ids_BT.device)
        # Padding far from the text sees itself: a token that sees nothing is NaN in some kernels, and NaN spreads.
        sees_near = sees & (distance <= net.config.local_attention // 2) | itself
        states: Tensor = net.embeddings(input_ids=ids_BT)
        masks = {
            "attention_mask": _additive(sees, states.dtype),
            "sliding_window_mask": _additive(sees_near, states.dtype),
        }
        for layer in net.layers:
            states = layer(states, position_ids=positions_BT, **masks)[0]
        normed: Tensor = net.final_norm(states)
        return normed

    def n_positions(self, config: Any) -> int:
        return int(config.max_position_embeddings)


FAMILIES: dict[str, Family] = {
    "bert": BertFamily(),
    "roberta": BertFamily(starts_after_padding=True),
    "xlm-roberta": BertFamily(starts_after_padding=True),
    "modernbert": ModernBertFamily(),
}
"""By `model_type`; E5, BGE, GTE and MiniLM are `bert`. Positions of the RoBERTa kind begin after padding's id."""


class Loaded(NamedTuple):
    """A backbone and the tokenizer that belongs to it."""

    backbone: Backbone
    tokenizer: Tokenizer


def load_backbone(path: str) -> Loaded:
    """Load a checkpoint directory or a hub name; refuses kinds of models that are not known to be read right."""
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise MissingArtefactError(f"no model at {path}: the directory has no config.json")
    config = _load("model", path, AutoConfig.from_pretrained)
    family = _family(path, config.model_type)
    tokenizer = _load("tokenizer", path, AutoTokenizer.from_pretrained, use_fast=True)
    if (largest := _load("tokenizer", path, lambda _: _largest_id(tokenizer))) >= config.vocab_size:
        raise BadArtefactError(
            f"the tokenizer of {path} has a token with id {largest:,}, the model knows {config.vocab_size:,} tokens: "
            "they do not belong together; give the model's own tokenizer"
        )
    # Nobody sees padding, so a tokenizer without it may pad with any token.
    backbone = Backbone(_encoder(path, config.model_type), family, pad_id=tokenizer.pad_token_id or 0)
    return Loaded(backbone, tokenizer.backend_tokenizer)


def _largest_id(tokenizer: Any) -> int:
    """Return the largest id of the vocabulary and of what is put around a text; ids may have gaps."""
    return int(max(0, *tokenizer.get_vocab().values(), *tokenizer("a")["input_ids"]))


def _encoder(path: str, model_type: str) -> PreTrainedModel:
    pooler = {} if model_type == "modernbert" else {"add_pooling_layer": False}
    encoder, report = _load(
        "weights",
        path,
        AutoModel.from_pretrained,
        attn_implementation="sdpa",
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **pooler,
    )
    if absent := sorted(report["missing_keys"]):
        raise BadArtefactError(
            f"the weights of {path} lack {len(absent)} tensors that its config.json calls for, {absent[0]} the first; "
            "they would stay random. Give a whole checkpoint"
        )
    if beyond := sorted(name for name in report["unexpected_keys"] if _OF_A_LAYER.search(name)):
        raise BadArtefactError(
            f"the weights of {path} have {len(beyond)} tensors of layers that its config.json does not call for, "
            f"{beyond[0]} the first; they would be left out. Give the configuration that belongs to them"
        )
    return encoder


def _load(what: str, path: str, load: Callable[..., Any], **options: Any) -> Any:
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of the pooler we leave out; layers that are missing are refused here
    try:
        return load(path, **options)
    except OSError as error:
        raise MissingArtefactError(f"no {what} at {path}: {_in_one_line(error)}") from error
    except Exception as error:  # transformers, tokenizers and safetensors share no base but Exception
        raise BadArtefactError(f"the {what} at {path} cannot be loaded: {_in_one_line(error)}") from error
    finally:
        logger.setLevel(level)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _family(path: str, model_type: str) -> Family:
    if model_type not in FAMILIES:
        raise BadConfigError(
            f"{path} is a {model_type!r} model; InF-Embed reads {', '.join(sorted(FAMILIES))} (E5, BGE, GTE and MiniLM "
            "are bert). Add a family to training/backbone.py with a test against the model's own forward"
        )
    return FAMILIES[model_type]


def _additive(is_seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device).masked_fill(~is_seen, torch.finfo(dtype).min)
