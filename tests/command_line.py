"""The real `infembed` command, run in this process."""

from collections.abc import Callable
from typing import NamedTuple


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]
"""Called with the arguments that follow `infembed`."""
