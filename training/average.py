"""The mean of several runs' weights as one checkpoint ("model soups", arXiv 2203.05482).

What low-rank factors add to a matrix is scale * B A. Factors cannot be averaged, what they add can: factors of several
runs side by side, each B divided by the number of runs, add the mean of what the runs add. The rank is their sum.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor

from infembed.errors import BadConfigError, MismatchedArtefactError
from training.checkpoint import CheckpointManifest, read_manifest, read_trained, write_checkpoint
from training.config import LoraConfig

_UP = ".lora_B."


def average(paths: Sequence[Path], out: Path, *, name: str) -> CheckpointManifest:
    """Write the mean of checkpoints on one base model, whole or not at all; `out` must not exist."""
    if len(paths) < 2:
        raise BadConfigError(f"{len(paths)} checkpoint is no mean; give two or more")
    manifests = [read_manifest(path) for path in paths]
    for path, manifest in zip(paths[1:], manifests[1:], strict=True):
        _require_alike(paths[0], manifests[0], path, manifest)
    runs = [read_trained(path, manifest.model) for path, manifest in zip(paths, manifests, strict=True)]
    for path, run in zip(paths, runs, strict=True):
        if run.keys() != runs[0].keys():
            raise MismatchedArtefactError(f"{path} has other tensors than {paths[0]}: their mean is no model")
    first = manifests[0]
    loras = [manifest.model.lora for manifest in manifests if manifest.model.lora is not None]
    if loras:
        rank = sum(lora.rank for lora in loras)
        tensors = _side_by_side(runs, [lora.alpha / lora.rank for lora in loras])
        model = first.model.model_copy(update={"lora": LoraConfig(rank=rank, alpha=rank)})
    else:
        tensors = {key: _mean(run[key] for run in runs) for key in runs[0]}
        model = first.model
    sources: list[JsonValue] = [
        {"name": manifest.name, "files": [entry.model_dump(mode="json") for entry in manifest.files]}
        for manifest in manifests
    ]
    return write_checkpoint(
        tensors,
        out,
        name=name,
        model=model,
        base_fingerprint=first.base_fingerprint,
        dimensions=first.dimensions,
        made_from={"mean_of": sources},
    )


def _require_alike(first: Path, expected: CheckpointManifest, path: Path, found: CheckpointManifest) -> None:
    """Refuse runs whose weights mean different things; ranks may differ."""
    ours, theirs = _shape_of(expected), _shape_of(found)
    differing = [key for key in ours if ours[key] != theirs[key]]
    if differing:
        key = differing[0]
        raise MismatchedArtefactError(
            f"{path} has {key} = {theirs[key]}, {first} has {ours[key]}: their mean is no model; "
            "give runs that differ in their rows, seeds or losses only"
        )


def _shape_of(manifest: CheckpointManifest) -> dict[str, object]:
    model = manifest.model.model_dump(mode="json", exclude={"base", "lora", "dropout"})  # the base by its weights
    return {
        "base_fingerprint": manifest.base_fingerprint[:12],
        **{f"model.{key}": value for key, value in model.items()},
        "factors": manifest.model.lora is not None,
        "dimensions": manifest.dimensions,
    }


def _side_by_side(runs: Sequence[Mapping[str, Tensor]], scales: Sequence[float]) -> dict[str, Tensor]:
    """Join factors along the rank, so that with a scale of 1 they add the mean of what each run's add."""
    return {
        key: torch.cat([run[key].float() * (scale / len(runs)) for run, scale in zip(runs, scales, strict=True)], dim=1)
        if _UP in key
        else torch.cat([run[key].float() for run in runs], dim=0)
        for key in runs[0]
    }


def _mean(tensors: Iterable[Tensor]) -> Tensor:
    stacked = torch.stack(list(tensors))
    return stacked.mean(dim=0) if stacked.is_floating_point() else stacked[0]
