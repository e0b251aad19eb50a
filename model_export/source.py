"""What is exported: a checkpoint of `infembed train` or a plain Hugging Face one, in PyTorch and as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from infembed import version
from infembed.artefacts import sha256_file
from infembed.bundle import TOKENIZER_FILE
from infembed.errors import BadConfigError, MissingArtefactError
from infembed.inputs import Fusion
from infembed.packaged import packaged_directory
from infembed.vectors import FloatArray
from model_export.blueprint import CONFIG_FILE, Blueprint, Shape
from model_export.bundle_writer import MadeFrom, Model
from model_export.checkpoint_safety import open_safely
from model_export.factors import FACTORS_FILE, add_factors, halved, read_factors
from model_export.plain_checkpoint import plain_config
from model_export.weights import Tensors, Towers
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, read_manifest
from training.config import DEFAULT_BASE, ModelConfig
from training.lora import load_factors, scale_factors
from training.model import MINILM, InfEmbed, open_model

_NAME_CHARACTERS = 150


@dataclass(frozen=True)
class Source:
    """A model to export, and the same model in PyTorch to hold the bundle against."""

    model: Model
    reference: InfEmbed
    unrounded: dict[str, Tensor] | None = None
    """Factors as they were trained, where they are not yet those that are shipped."""


def open_source(
    checkpoint: Path, *, fusion: Fusion | None = None, max_tokens: int | None = None, scale: float = 1.0
) -> Source:
    """Open a checkpoint. `fusion` and `max_tokens` are for plain ones: a trained one was trained with its own.

    `scale` below 1 averages trained factors with the base model (arXiv 2203.05482 for two models on one line).
    """
    if (checkpoint / CHECKPOINT_FILE).is_file():
        if max_tokens is not None:
            raise BadConfigError(f"{checkpoint} was trained with its own max_tokens; leave --max-tokens away")
        return _trained(checkpoint, fusion=fusion, scale=scale)
    if scale != 1:
        raise BadConfigError(f"{checkpoint} has no trained factors to scale; leave --scale away")
    is_default = str(checkpoint) == DEFAULT_BASE and not checkpoint.exists()
    directory = base_directory(DEFAULT_BASE) if is_default else checkpoint
    if not (directory / CONFIG_FILE).is_file():
        raise MissingArtefactError(
            f"no checkpoint at {checkpoint}: expected the model of a training run (RUN/model) or a Hugging Face "
            f"checkpoint's directory with {CONFIG_FILE}"
        )
    shape = open_safely(directory)
    tokenizer = _read_tokenizer(directory)
    config = plain_config(directory, shape, fusion=fusion or Fusion.PREFIX, max_tokens=max_tokens)
    reference = open_model(config).eval()
    made_from = MadeFrom(blueprint=_blueprint(config, shape), checkpoint=_describe(config, reference))
    towers = Towers(_tensors(reference.query_tower.encoder))
    return Source(_model(checkpoint.resolve().name, tokenizer, towers, made_from), reference)


def base_directory(base: str) -> Path:
    """Return where a configuration's base model lies; one named on the hub must have been downloaded."""
    if base == DEFAULT_BASE:
        return packaged_directory(MINILM[0], MINILM[1], requirement=MINILM[2])
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(base, local_files_only=True))
    except (OSError, ValueError) as error:
        raise MissingArtefactError(
            f"no base model {base}: neither a directory nor in the hub's cache; get the model it was trained on"
        ) from error


def _trained(checkpoint: Path, *, fusion: Fusion | None, scale: float) -> Source:
    manifest = read_manifest(checkpoint)
    config = manifest.model
    if fusion not in (None, config.fusion):
        raise BadConfigError(f"{checkpoint} was trained for fusion {config.fusion}, not {fusion}; leave --fusion away")
    if config.lora is None and scale != 1:
        raise BadConfigError(f"{checkpoint} has no factors to scale, all its weights were trained; leave --scale away")
    base = base_directory(config.base)
    shape = open_safely(base)
    tokenizer = _read_tokenizer(base)
    reference = load_checkpoint(checkpoint)
    factor_scale = unrounded = None
    if config.lora is not None:
        factor_scale = scale * config.lora.alpha / config.lora.rank
        factors = read_factors(checkpoint / FACTORS_FILE)
        unrounded = _round_factors(reference, factors, scale)
        towers = add_factors(_tensors(reference.query_tower.encoder), factors, scale=factor_scale, tower=config.tower)
    else:
        towers = _towers_of_whole_weights(reference)
    described = _describe(config, reference) | {
        "name": manifest.name,
        "manifest_sha256": sha256_file(checkpoint / CHECKPOINT_FILE),
        "made_from": manifest.made_from,
    }
    made_from = MadeFrom(blueprint=_blueprint(config, shape), factor_scale=factor_scale, checkpoint=described)
    model = _model(manifest.name, tokenizer, towers, made_from, dimensions=manifest.dimensions)
    return Source(model, reference, unrounded)


def _blueprint(config: ModelConfig, shape: Shape) -> Blueprint:
    return Blueprint(
        shape=shape,
        fusion=config.fusion,
        tower=config.tower,
        has_factors=config.lora is not None,
        pooling=config.pooling,
        pools_instruction=config.pools_instruction,
        prompts=config.prompts,
        max_tokens=config.max_tokens,
    )


def _describe(config: ModelConfig, reference: InfEmbed) -> dict[str, JsonValue]:
    model = config.model_dump(mode="json")
    if Path(config.base).is_dir():
        model["base"] = Path(config.base).resolve().name  # where it lay is nobody's business
    return {"model": model, "base_fingerprint": reference.base_fingerprint}


def _read_tokenizer(base: Path) -> bytes:
    try:
        return (base / TOKENIZER_FILE).read_bytes()
    except FileNotFoundError as error:
        raise MissingArtefactError(
            f'{base} has no {TOKENIZER_FILE}; make one of its older files: python -c "from transformers import '
            f"AutoTokenizer as T; T.from_pretrained('{base}').save_pretrained('{base}')\""
        ) from error


def _model(
    name: str, tokenizer: bytes, towers: Towers, made_from: MadeFrom, *, dimensions: Sequence[int] = ()
) -> Model:
    """Name the bundle after its checkpoint; names of directories may hold what no terminal or manifest should."""
    printable = "".join(character if character.isprintable() else "_" for character in name)[:_NAME_CHARACTERS]
    made_with = {"inf-embed": version(), "torch": torch.__version__}
    return Model(
        f"{printable}-{made_from.blueprint.fusion}",
        towers,
        tokenizer,
        made_from,
        dimensions=dimensions,
        made_with=made_with,
    )


def _round_factors(reference: InfEmbed, factors: Tensors, scale: float) -> dict[str, Tensor] | None:
    """Give the model in PyTorch the factors that are shipped: in half precision, and scaled; returns those it had."""
    trained = {name: torch.from_numpy(factor.astype("f4")) for name, factor in factors.items()}
    rounded = {name: torch.from_numpy(half.astype("f4")) for name, half in halved(factors).items()}
    load_factors(reference.query_tower, rounded)
    scale_factors(reference.query_tower, scale)
    return None if all(torch.equal(rounded[name], trained[name]) for name in trained) else trained


def _towers_of_whole_weights(reference: InfEmbed) -> Towers:
    trained = _tensors(reference.query_tower.encoder)
    if reference.config.tower.keeps_documents:
        return Towers(_tensors(reference.document_tower.encoder), trained)
    return Towers(trained)


def _tensors(encoder: nn.Module) -> dict[str, FloatArray]:
    """Return an encoder's weights by their own names, factors left out."""
    return {
        name.replace(".base_layer.", "."): tensor.detach().cpu().float().numpy()
        for name, tensor in encoder.state_dict().items()
        if ".lora_" not in name
    }
