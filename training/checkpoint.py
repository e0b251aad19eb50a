"""Checkpoints: what was trained, the configuration that made it, and digests of what it stands on.

checkpoint.json          configuration, base model's digest, digest of the weights
factors.safetensors      LoRA: the factors alone, megabytes
weights.safetensors      otherwise: every weight of the query tower
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infembed import version
from infembed.artefacts import FileEntry, describe_file, new_directory, verify_files
from infembed.config import Config, parse_json
from infembed.errors import AlteredArtefactError, MismatchedArtefactError, MissingArtefactError, StorageError
from training.config import ModelConfig
from training.lora import factors, load_factors
from training.model import InfEmbed, open_model

CHECKPOINT_FILE = "checkpoint.json"
_FACTORS_FILE = "factors.safetensors"
_WEIGHTS_FILE = "weights.safetensors"
_REMEDY = "train the model again, or copy the checkpoint once more"


class CheckpointManifest(Config):
    """What a checkpoint is and what made it."""

    schema_version: Literal[1] = 1
    name: str
    model: ModelConfig
    base_fingerprint: str = Field(description="digest of the base model's weights: factors fit no others")
    dimensions: tuple[int, ...] = Field(default=(), description="widths that vectors were trained to be cut to")
    made_from: dict[str, JsonValue] = Field(default_factory=dict)
    made_with: dict[str, str] = Field(default_factory=lambda: {"inf-embed": version()})
    files: tuple[FileEntry, ...]


def save_checkpoint(
    model: InfEmbed, out: Path, *, name: str, made_from: dict[str, JsonValue], dimensions: tuple[int, ...] = ()
) -> CheckpointManifest:
    """Write what was trained, whole or not at all; `out` must not exist."""
    return write_checkpoint(
        _trained(model),
        out,
        name=name,
        model=model.config,
        base_fingerprint=model.base_fingerprint,
        dimensions=dimensions,
        made_from=made_from,
    )


def write_checkpoint(
    trained: dict[str, Tensor],
    out: Path,
    *,
    name: str,
    model: ModelConfig,
    base_fingerprint: str,
    dimensions: tuple[int, ...],
    made_from: dict[str, JsonValue],
) -> CheckpointManifest:
    """Write trained tensors of a model as a checkpoint, whole or not at all; `out` must not exist."""
    file = _file_of(model)
    with new_directory(out) as directory:
        _write(trained, directory / file)
        manifest = CheckpointManifest(
            name=name,
            model=model,
            base_fingerprint=base_fingerprint,
            dimensions=dimensions,
            made_from=made_from,
            files=(describe_file(directory, file),),
        )
        (directory / CHECKPOINT_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _file_of(model: ModelConfig) -> str:
    return _WEIGHTS_FILE if model.lora is None else _FACTORS_FILE


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # it words a full disk in its own way
        raise StorageError(f"{path} cannot be written: {error}; free some space and run the command again") from error


def read_manifest(path: Path) -> CheckpointManifest:
    """Read a checkpoint's manifest and check its files."""
    if not (path / CHECKPOINT_FILE).is_file():
        raise MissingArtefactError(
            f"no checkpoint at {path} (no {CHECKPOINT_FILE} there); train one (`infembed train`)"
        )
    manifest = parse_json(CheckpointManifest, path / CHECKPOINT_FILE, remedy=_REMEDY)
    verify_files(path, manifest.files, remedy=_REMEDY)
    return manifest


def load_checkpoint(path: Path) -> InfEmbed:
    """Rebuild the trained model on its base model."""
    manifest = read_manifest(path)
    model = open_model(manifest.model)
    _require_base(model, manifest, path)
    restore(model, path)
    return model.eval()


def go_on_from(model: InfEmbed, path: Path) -> None:
    """Put another run's weights into a fresh model, which must be configured alike."""
    manifest = read_manifest(path)
    if manifest.model != model.config:
        theirs, ours = (config.model_dump(mode="json") for config in (manifest.model, model.config))
        key = next(key for key in ours if ours[key] != theirs[key])
        raise MismatchedArtefactError(
            f"{path} was trained with model.{key} = {theirs[key]}, the run asks for {ours[key]}; make them alike, or "
            "start from the base model"
        )
    _require_base(model, manifest, path)
    restore(model, path)


def require_same_origin(model: InfEmbed, path: Path, made_from: Mapping[str, JsonValue]) -> None:
    """Refuse to go on with a run whose base model, rows or other inputs have changed since."""
    manifest = read_manifest(path)
    _require_base(model, manifest, path)
    inputs = manifest.made_from.keys() & made_from.keys() - {"config"}
    changed = sorted(name for name in inputs if made_from[name] != manifest.made_from[name])
    if changed:
        raise MismatchedArtefactError(
            f"{path} was trained with other inputs than are there now ({', '.join(changed)}), so the run cannot go on; "
            "put them back, or train into another --out"
        )


def _require_base(model: InfEmbed, manifest: CheckpointManifest, path: Path) -> None:
    if model.base_fingerprint != manifest.base_fingerprint:
        raise MismatchedArtefactError(
            f"{path} was trained on a base model with digest {manifest.base_fingerprint[:12]}, "
            f"{manifest.model.base} has {model.base_fingerprint[:12]}; get the model it was trained on"
        )


def restore(model: InfEmbed, path: Path) -> None:
    """Put a checkpoint's weights into a model of the same configuration."""
    found = read_trained(path, model.config)
    expected = _trained(model)
    wrong = sorted(name for name in expected.keys() | found.keys() if _shape(expected, name) != _shape(found, name))
    if wrong:
        name = wrong[0]
        raise MismatchedArtefactError(
            f"{path / _file_of(model.config)} does not fit {model.config.base}: {name} has shape "
            f"{_shape(found, name)}, the model needs {_shape(expected, name)} ({len(wrong)} such tensors); "
            "was it trained on another base model?"
        )
    if model.config.lora is not None:
        load_factors(model.query_tower, found)
    else:
        model.query_tower.encoder.load_state_dict(found)


def read_trained(path: Path, model: ModelConfig) -> dict[str, Tensor]:
    """Read a checkpoint's tensors as they lie there, on the CPU."""
    file = path / _file_of(model)
    try:
        found: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise AlteredArtefactError(f"{file} cannot be read: {error}; {_REMEDY}") from error
    return found


def _trained(model: InfEmbed) -> dict[str, Tensor]:
    if model.config.lora is not None:
        return factors(model.query_tower)
    state = model.query_tower.encoder.state_dict()
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None
