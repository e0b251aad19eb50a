"""A trained query tower as low-rank factors over the base weights, added up without torch.

The factors are kept in float16. Products of two such numbers and sums of a few hundred of them are exact in float64, so
the order of the additions does not matter and every machine gets the same bits: digests can be checked after merging.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from infembed.bundle import Tower
from infembed.config import Config
from infembed.errors import AlteredArtefactError, MismatchedArtefactError
from infembed.vectors import FloatArray

FACTORS_FILE = "factors.safetensors"
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


class Factors(Config):
    """What adds a recipe's factors to its base weights, and what reads its input with the sum."""

    tower: Tower = Tower.FROZEN
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description=f"of {FACTORS_FILE}")
    scale: float = Field(gt=0, description="of the products: alpha over rank, times any averaging with the base")
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the weight file that merging must produce")


def write_factors(path: Path, trained: Mapping[str, FloatArray]) -> None:
    """Keep trained factors in float16, sorted by name."""
    halves = {name: np.ascontiguousarray(trained[name].astype(np.float16)) for name in sorted(trained)}
    save_file(halves, path)
    path.chmod(0o644)  # the library makes it readable by its owner only


def merge(base: Mapping[str, FloatArray], path: Path, *, scale: float) -> dict[str, FloatArray]:
    """Return the query tower: base weights plus scale times up x down for every matrix that has factors."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise AlteredArtefactError(f"{path} cannot be read: {error}; install inf-embed again") from error
    merged = dict(base)
    for name in sorted(found):
        if not name.endswith(_DOWN):
            continue
        matrix = name.removesuffix(_DOWN)
        target = f"{matrix}.weight"
        down, up = found[name].astype(np.float64), found[matrix + _UP].astype(np.float64)
        if target not in base or base[target].shape != (up.shape[0], down.shape[1]):
            raise MismatchedArtefactError(f"{path} has factors for {target}, which the base model lacks in that shape")
        merged[target] = (base[target].astype(np.float64) + scale * (up @ down)).astype(np.float32)
    return merged
