"""What the tiny service and the tests of clients agree on."""

from pathlib import Path
from typing import NamedTuple

COLLECTION = "words"
TEXTS = (
    "bread dough for a child",
    "bread dough for an expert",
    "bike chain",
    "road with a brake",
    "oven and yeast",
)
DIM = 32
CUT_DIM = 16
MODEL_TOKENS = 48
RETRY_AFTER_S = 0.02
BUSY_FILE = "busy"


class RunningService(NamedTuple):
    """Where the tiny service answers, and the file that makes it busy."""

    url: str
    busy: Path
