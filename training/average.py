"""The mean of several runs' weights as one checkpoint ("model soups", arXiv 2203.05482).

What low-rank factors add to a matrix is scale * B A. Factors cannot be averaged, what they add can: factors of several
runs side by side, each B divided by the number of runs, add the mean of what the runs add. The rank is their sum, or a
smaller one asked for: then what they add is replaced by the nearest matrix of that rank (truncated singular values).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor

from infembed.artefacts import refuse_existing
from infembed.errors import BadConfigError, MismatchedArtefactError, NonFiniteError
from training.checkpoint import CheckpointManifest, read_manifest, read_trained, write_checkpoint
from training.config import MOST_RANK, NAME, LoraConfig

_UP, _DOWN = ".lora_B.", ".lora_A."
_Shapes = dict[str, tuple[int | str, ...]]


def average(paths: Sequence[Path], out: Path, *, name: str, rank: int | None = None) -> CheckpointManifest:
    """Write the mean of checkpoints on one base model, whole or not at all; `out` must not exist.

    `rank`: of the mean's factors, at most the sum of the runs' ranks; None: that sum, which loses nothing.
    """
    if len(paths) < 2:
        raise BadConfigError(f"{len(paths)} checkpoint is no mean; give two or more")
    if not re.fullmatch(NAME, name):
        raise BadConfigError(
            f"name {name!r} is none: letters, digits, dots, dashes and underscores make one; give --name"
        )
    refuse_existing(out)
    if inside := [path for path in paths if out.resolve().is_relative_to(path.resolve())]:
        raise BadConfigError(f"{out} lies in {inside[0]}, which is read; choose a directory of its own")
    manifests = [read_manifest(path) for path in paths]
    for path, manifest in zip(paths[1:], manifests[1:], strict=True):
        _require_alike(paths[0], manifests[0], path, manifest)
    first = manifests[0]
    loras = [manifest.model.lora for manifest in manifests if manifest.model.lora is not None]
    wanted = _rank(loras, rank)
    runs = [read_trained(path, manifest.model) for path, manifest in zip(paths, manifests, strict=True)]
    for path, manifest, run in zip(paths, manifests, runs, strict=True):
        _require_whole(path, run, _shapes(runs[0], first.model.lora), manifest.model.lora)
    if loras:
        joined = _side_by_side(runs, [lora.alpha / lora.rank for lora in loras])
        tensors = _rounded(joined if rank is None else _nearest(joined, wanted))
        model = first.model.model_copy(update={"lora": LoraConfig(rank=wanted, alpha=wanted)})
    else:
        tensors = {key: _mean(run[key] for run in runs) for key in runs[0]}
        model = first.model
    sources: list[JsonValue] = [
        manifest.model_dump(mode="json", include={"name", "model", "made_from", "files"}) for manifest in manifests
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


def _rank(loras: Sequence[LoraConfig], asked: int | None) -> int:
    """Return the rank of the mean's factors; refuses one that cannot be."""
    whole = sum(lora.rank for lora in loras)
    if asked is None:
        if whole > MOST_RANK:
            ranks = ", ".join(str(lora.rank) for lora in loras)
            raise BadConfigError(f"ranks {ranks} add up to {whole}; give a rank of at most {MOST_RANK}")
        return whole
    if not loras:
        raise BadConfigError(f"rank is {asked} and the runs hold all weights, no factors; take it away")
    most = min(whole, MOST_RANK)
    if not 1 <= asked <= most:
        raise BadConfigError(f"rank is {asked}, the runs' ranks add up to {whole}; give 1 to {most}, or leave it out")
    return asked


def _require_alike(first: Path, expected: CheckpointManifest, path: Path, found: CheckpointManifest) -> None:
    """Refuse runs whose weights mean different things; ranks may differ."""
    ours, theirs = _must_agree(expected), _must_agree(found)
    differing = [key for key in ours if ours[key] != theirs[key]]
    if differing:
        key = differing[0]
        raise MismatchedArtefactError(
            f"{path} has {key} = {theirs[key]}, {first} has {ours[key]}: their mean is no model; "
            "give runs that differ in their rows, seeds or losses only"
        )


def _require_whole(path: Path, run: Mapping[str, Tensor], expected: _Shapes, lora: LoraConfig | None) -> None:
    """Refuse tensors that are not those of a run of this rank on this base model, or are no numbers."""
    if _shapes(run, lora) != expected:
        raise MismatchedArtefactError(
            f"{path} holds tensors of other names or shapes than its manifest and the first run's"
        )
    if broken := [name for name, tensor in run.items() if not torch.isfinite(tensor).all()]:
        raise NonFiniteError(f"{path} holds values that are no finite numbers ({broken[0]}); train it again")


def _shapes(run: Mapping[str, Tensor], lora: LoraConfig | None) -> _Shapes:
    """Return shapes by name, with "rank" where a factor has the rank that its run's configuration says."""
    return {
        name: tuple(
            "rank" if lora is not None and axis == (1 if _UP in name else 0) and size == lora.rank else size
            for axis, size in enumerate(tensor.shape)
        )
        for name, tensor in run.items()
    }


def _must_agree(manifest: CheckpointManifest) -> dict[str, object]:
    model = manifest.model.model_dump(mode="json", exclude={"base", "lora", "dropout"})  # the base by its weights
    return {
        "base_fingerprint": manifest.base_fingerprint,
        **{f"model.{key}": value for key, value in model.items()},
        "factors": manifest.model.lora is not None,
        "dimensions": sorted(manifest.dimensions),
    }


def _side_by_side(runs: Sequence[Mapping[str, Tensor]], scales: Sequence[float]) -> dict[str, Tensor]:
    """Join factors along the rank, so that with a scale of 1 they add the mean of what each run's add."""
    return {
        key: torch.cat([run[key].float() * (scale / len(runs)) for run, scale in zip(runs, scales, strict=True)], dim=1)
        if _UP in key
        else torch.cat([run[key].float() for run in runs], dim=0)
        for key in runs[0]
    }


def _nearest(joined: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Replace each B A by the nearest product of this rank (Eckart and Young 1936), its scale shared between both."""
    found = dict(joined)
    for key in [key for key in joined if _UP in key]:
        other = key.replace(_UP, _DOWN)
        up, down = torch.linalg.qr(joined[key].double()), torch.linalg.qr(joined[other].double().T)
        left, values, right = torch.linalg.svd(up.R @ down.R.T, full_matrices=False)
        kept = min(rank, len(values))  # a small matrix has no more; what is missing is zero
        roots = values[:kept].sqrt()
        found[key] = _padded(up.Q @ left[:, :kept] * roots, rank).float()
        found[other] = _padded(down.Q @ right[:kept].T * roots, rank).T.float()
    return found


def _padded(columns: Tensor, n: int) -> Tensor:
    return torch.nn.functional.pad(columns, (0, n - columns.shape[1]))


def _rounded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round to half precision, as a run's factors are (docs/decisions/0008): what is scored is what is served."""
    return {key: tensor.half().float().contiguous() for key, tensor in tensors.items()}


def _mean(tensors: Iterable[Tensor]) -> Tensor:
    stacked = torch.stack(list(tensors))
    return stacked.mean(dim=0) if stacked.is_floating_point() else stacked[0]
