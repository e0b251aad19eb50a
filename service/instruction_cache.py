"""What queries need of their instructions, remembered: a repeated instruction costs a query nothing but attention.

One cache belongs to one loaded model and dies with it, so that states of another model cannot be met.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from infembed.encoder import TokenIds
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.metrics import Metrics

_LARGEST_HALF = float(np.finfo(np.float16).max)


class InstructionCache:
    """Instruction states by token ids, least recently used out first, within a budget of bytes.

    `states_of` belongs to the inference thread, the only one that computes: nothing is computed twice, and no lock is
    needed. `costs` only asks what is there and may be called from anywhere.

    States are kept in half precision: it moves no embedding by more than 4e-5 (docs/serving.md) and twice as many fit.
    """

    def __init__(
        self,
        encode: Callable[[Iterable[TokenIds]], Mapping[TokenIds, FloatArray]],
        metrics: Metrics,
        *,
        max_bytes: int,
    ) -> None:
        self._encode = encode
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._states: OrderedDict[TokenIds, npt.NDArray[np.float16]] = OrderedDict()
        self._n_bytes = 0

    def states_of(self, instructions: Iterable[TokenIds]) -> dict[TokenIds, npt.NDArray[np.floating[Any]]]:
        """Return the states of a batch's instructions; the unknown ones are computed together."""
        wanted = [ids for ids in dict.fromkeys(instructions) if ids]
        found: dict[TokenIds, npt.NDArray[np.floating[Any]]] = {}
        for ids in wanted:
            if ids in self._states:
                self._states.move_to_end(ids)
                found[ids] = self._states[ids]
        missing = [ids for ids in wanted if ids not in found]
        self._metrics.instructions(hits=len(found), misses=len(missing))
        if missing:
            found |= {ids: self._kept(ids, state) for ids, state in self._encode(missing).items()}
            self._metrics.instruction_states(inputs=len(self._states), n_bytes=self._n_bytes)
        return found

    def costs(self, items: Sequence[TokenizedInput]) -> list[int]:
        """Count the tokens each input will have computed: an instruction that is known, or came before, adds none."""
        seen: set[TokenIds] = set()
        costs = []
        for item in items:
            is_new = item.instruction_ids not in seen and item.instruction_ids not in self._states
            costs.append(item.n_tokens if is_new else len(item.ids))
            seen.add(item.instruction_ids)
        return costs

    def _kept(self, ids: TokenIds, state: FloatArray) -> npt.NDArray[np.floating[Any]]:
        """Remember a state and return it as it is remembered, so that a hit gives the vector that the miss gave.

        One that is larger than the cache, or not finite in half precision, is returned as it is and forgotten.
        """
        n_bytes = state.size * np.dtype(np.float16).itemsize
        if n_bytes > self._max_bytes or not np.abs(state).max() <= _LARGEST_HALF:
            return state
        while self._n_bytes + n_bytes > self._max_bytes:
            _, evicted = self._states.popitem(last=False)
            self._n_bytes -= evicted.nbytes
            self._metrics.instruction_evicted()
        self._states[ids] = half = state.astype(np.float16)
        self._n_bytes += n_bytes
        return half
