"""Vectors as text: how JSON carries them in a third of the size."""

import base64

from infembed.vectors import FloatArray


def base64_of(vector: FloatArray) -> str:
    """Write (D,) as the base64 of its little-endian float32 values, as OpenAI's clients read it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
