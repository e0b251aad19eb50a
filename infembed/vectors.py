"""Embeddings as arrays: the one place that normalises them and refuses non-finite ones."""

import numpy as np
import numpy.typing as npt

from infembed.errors import NonFiniteError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def normalize(embeddings: FloatArray) -> FloatArray:
    """Scale each row of (N, D) to unit length; a zero row stays zero."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: FloatArray = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32, copy=False)
    return unit


def require_finite(embeddings: FloatArray) -> FloatArray:
    """Return (N, D) unchanged, or raise NonFiniteError naming the offending rows."""
    finite = np.all(np.isfinite(embeddings), axis=1, keepdims=True)
    if not finite.all():
        rows = np.flatnonzero(~finite).tolist()
        raise NonFiniteError(f"the model produced NaN or infinity for input rows {rows[:10]} of {len(finite)}")
    return embeddings
