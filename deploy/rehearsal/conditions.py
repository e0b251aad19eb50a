"""The success conditions of the manifests, as Argo Rollouts would evaluate them; only the form that they use."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"result\[0\]\s*(<=|>=|==|<|>)\s*(-?\d+(?:\.\d+)?)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """`result[0] <= 0.01` and its like; NaN meets none."""

    relation: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a condition; another form than this is refused, since guessing would rehearse something else."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"the condition {text!r} is not of the form `result[0] <= 0.01`")
        return cls(found[1], float(found[2]))

    def holds(self, value: float) -> bool:
        """Whether a measurement meets it."""
        return _COMPARE[self.relation](value, self.bound)

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"
