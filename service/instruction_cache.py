"""What queries need of their instructions, remembered: a repeated instruction costs a query nothing but attention.

One cache belongs to one loaded model and dies with it, so that states of another model cannot be met.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from infembed.encoder import TokenIds
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.metrics import Metrics


class InstructionCache:
    """Instruction states by token ids, least recently used out first, within a budget of bytes.

    `states_of` belongs to the inference thread, the only one that computes: nothing is computed twice, and no lock is
    needed. `costs` only asks what is there and may be called from anywhere.

    States are kept as they are. Half precision would move no embedding by more than 4e-5 and take half the memory, but
    widening an instruction for each batch costs about a sixth of the query that it belongs to (docs/serving.md).
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
        self._states: OrderedDict[TokenIds, FloatArray] = OrderedDict()
        self._n_bytes = 0
        metrics.watch_instructions(self)

    @property
    def n_instructions(self) -> int:
        return len(self._states)

    @property
    def n_bytes(self) -> int:
        """Memory of what is remembered."""
        return self._n_bytes

    def states_of(self, instructions: Iterable[TokenIds]) -> dict[TokenIds, FloatArray]:
        """Return the states of a batch's instructions; the unknown ones are computed together."""
        wanted = [ids for ids in dict.fromkeys(instructions) if ids]
        found: dict[TokenIds, FloatArray] = {}
        for ids in wanted:
            if ids in self._states:
                self._states.move_to_end(ids)
                found[ids] = self._states[ids]
        missing = [ids for ids in wanted if ids not in found]
        self._metrics.instructions(hits=len(found), misses=len(missing))
        if missing:
            computed = self._encode(missing)
            for ids, state in computed.items():
                self._keep(ids, state)
            found |= computed
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

    def _keep(self, ids: TokenIds, state: FloatArray) -> None:
        """Remember a state, unless it is larger than the cache or not finite: that would fail every later query."""
        if state.nbytes > self._max_bytes or not np.isfinite(state).all():
            return
        while self._n_bytes + state.nbytes > self._max_bytes:
            _, evicted = self._states.popitem(last=False)
            self._n_bytes -= evicted.nbytes
            self._metrics.instruction_evicted()
        self._states[ids] = state
        self._n_bytes += state.nbytes
