"""How tensors of a checkpoint become tensors of a bundle's weight files, and where they lie.

All graphs read one `weights.bin`; what a query tower has of its own (docs/decisions/0008) lies in `query.bin`. Order
and contents follow from the architecture and from what the graphs read, so that a bundle can be assembled from base
weights without torch and still be byte for byte what an export writes.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from infembed.errors import MismatchedArtefactError
from infembed.vectors import FloatArray
from infembed.weightfile import WEIGHTS_FILE, StoredTensor, place

QUERY_TOWER = "query."
"""Begins the names of a query tower's own tensors."""
QUERY_WEIGHTS_FILE = "query.bin"

Tensors = Mapping[str, FloatArray]
"""A checkpoint's tensors by their Hugging Face names."""


def copied(tensor: FloatArray) -> FloatArray:
    """Leave a tensor as it is."""
    return tensor


def transposed(*linears: FloatArray) -> FloatArray:
    """Turn Linear weights (out, in) to (in, out), as MatMul reads them, side by side along the last axis."""
    return np.concatenate([weight.T for weight in linears], axis=1)


def joined(*biases: FloatArray) -> FloatArray:
    """Put vectors one after another."""
    return np.concatenate(biases)


@dataclass(frozen=True, slots=True)
class TensorRecipe:
    """A tensor as graphs read it, and how it is made of the checkpoint's `sources`; without sources it is computed."""

    name: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    make: Callable[..., FloatArray] = copied


@dataclass(frozen=True, slots=True)
class Towers:
    """The weights of a model; `query` is None where queries and documents are read with the same."""

    document: Tensors
    query: Tensors | None = None


def linear(name: str, source: str, n_in: int, n_out: int, *, has_bias: bool = True) -> Iterable[TensorRecipe]:
    """Describe a Linear module's weight and bias."""
    yield TensorRecipe(f"{name}.weight", (n_in, n_out), (f"{source}.weight",), transposed)
    if has_bias:
        yield TensorRecipe(f"{name}.bias", (n_out,), (f"{source}.bias",))


def layer_norm(name: str, source: str, dim: int, *, has_bias: bool = True) -> Iterable[TensorRecipe]:
    """Describe a LayerNorm module's weight and bias."""
    yield TensorRecipe(f"{name}.weight", (dim,), (f"{source}.weight",))
    if has_bias:
        yield TensorRecipe(f"{name}.bias", (dim,), (f"{source}.bias",))


def lay_out(recipes: Iterable[TensorRecipe], read: Collection[str]) -> tuple[StoredTensor, ...]:
    """Place the tensors that graphs `read`, in the architecture's order; a query tower's own come last."""
    recipes = list(recipes)
    towers = (("", WEIGHTS_FILE), (QUERY_TOWER, QUERY_WEIGHTS_FILE))
    return place(
        StoredTensor(name=prefix + recipe.name, file=file, shape=recipe.shape, offset=0)
        for prefix, file in towers
        for recipe in recipes
        if prefix + recipe.name in read
    )


def write_weights(
    directory: Path, layout: Iterable[StoredTensor], recipes: Iterable[TensorRecipe], towers: Towers
) -> None:
    """Write the weight files of a layout, tensors at their offsets, zeros between them."""
    by_name = {recipe.name: recipe for recipe in recipes}
    for file, tensors in groupby(layout, key=lambda tensor: tensor.file):
        with (directory / file).open("wb") as out:
            for stored in tensors:
                recipe = by_name.get(stored.name.removeprefix(QUERY_TOWER))
                source = towers.query if stored.name.startswith(QUERY_TOWER) else towers.document
                if recipe is None or source is None:
                    raise MismatchedArtefactError(f"the layout has a tensor {stored.name!r} that the model lacks")
                out.write(b"\0" * (stored.offset - out.tell()))
                out.write(make_tensor(recipe, source).tobytes())


def make_tensor(recipe: TensorRecipe, checkpoint: Tensors) -> FloatArray:
    """Make one tensor from a checkpoint's; what is missing or does not fit is refused by name."""
    for name in recipe.sources:
        if name not in checkpoint:
            raise MismatchedArtefactError(f"the checkpoint has no tensor {name!r}; it is of another architecture")
    made = recipe.make(*(checkpoint[name].astype("<f4", copy=False) for name in recipe.sources))
    array = np.ascontiguousarray(made, dtype="<f4")
    if array.shape != recipe.shape:
        raise MismatchedArtefactError(
            f"tensor {recipe.name!r} has shape {array.shape}, the graph expects {recipe.shape}"
        )
    return array
