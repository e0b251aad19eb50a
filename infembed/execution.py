"""How a bundle is run: on what, and with how much memory for how much speed."""

from enum import StrEnum


class Provider(StrEnum):
    """What runs the graphs."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"

    @property
    def on_gpu(self) -> bool:
        return self is not Provider.CPU


class Footprint(StrEnum):
    """What the sessions of a bundle keep for themselves on the processor; measured by benchmarks/memory.py.

    `fast`: every graph a session with packed matrices of its own. `small`: where plain queries and documents are the
    same to the model, the query's session reads both, 3 to 9 % slower for documents; the instruction's multiplies by
    the mapped matrices as they are, up to 65 % slower, which matters little where instruction states are kept.
    """

    FAST = "fast"
    SMALL = "small"
