"""What can be wrong with a candidate, as a file that its service looks for."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong: seconds more for each batch, and NaN for every n-th input (0: for none)."""

    delay_s: float = 0.0
    nan_every: int = 0

    def switch_on(self, path: Path) -> None:
        """Write the file that a faulty service looks for, in one step."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read what is wrong now; nothing while there is no file."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()
