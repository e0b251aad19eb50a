"""A trained query tower as low-rank factors over the base weights, added up without torch.

The factors are kept in float16. Products of two such numbers and sums of a few hundred of them are exact in float64, so
the order of the additions does not matter and every machine gets the same bits: digests can be checked after merging.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from infembed.bundle import Tower
from infembed.errors import AlteredArtefactError, MismatchedArtefactError
from infembed.vectors import FloatArray
from model_export.weights import Tensors, Towers

FACTORS_FILE = "factors.safetensors"
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def halved(factors: Tensors) -> dict[str, FloatArray]:
    """Round factors to float16, sorted by name."""
    return {name: np.ascontiguousarray(factors[name].astype(np.float16)) for name in sorted(factors)}


def write_factors(path: Path, factors: Tensors) -> None:
    """Keep factors in float16."""
    save_file(halved(factors), path)
    path.chmod(0o644)  # the library makes it readable by its owner only


def read_factors(path: Path) -> dict[str, FloatArray]:
    """Read factors; refuses a file that is none."""
    try:
        found: dict[str, FloatArray] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise AlteredArtefactError(f"{path} cannot be read: {error}; get it again") from error
    return found


def merge(base: Tensors, factors: Tensors, *, scale: float) -> dict[str, FloatArray]:
    """Return the trained tower: base weights plus scale times up x down for every matrix that has factors."""
    merged = dict(base)
    halves = halved(factors)
    for name in halves:
        if not name.endswith(_DOWN):
            continue
        matrix = name.removesuffix(_DOWN)
        target = f"{matrix}.weight"
        down, up = halves[name].astype(np.float64), halves[matrix + _UP].astype(np.float64)
        if target not in base or base[target].shape != (up.shape[0], down.shape[1]):
            raise MismatchedArtefactError(f"there are factors for {target}, which the base model lacks in that shape")
        merged[target] = (base[target].astype(np.float64) + scale * (up @ down)).astype(np.float32)
    return merged


def add_factors(base: Tensors, factors: Tensors, *, scale: float, tower: Tower) -> Towers:
    """Return the weights of both sides: documents keep the base's, or share what was trained."""
    trained = merge(base, factors, scale=scale)
    return Towers(base, trained) if tower.keeps_documents else Towers(trained)
