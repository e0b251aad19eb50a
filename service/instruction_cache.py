"""What queries need of their instructions, remembered: a repeated instruction costs a query nothing but attention.

One cache belongs to one loaded model and dies with it, so that states of another model cannot be met.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from threading import Lock

import numpy as np

from infembed.encoder import TokenIds
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.metrics import Metrics


class InstructionCache:
    """Instruction states by token ids, least recently used out first, within a budget of bytes.

    Batches that run side by side ask at the same time: what one of them computes, the others wait for, so that nothing
    is computed twice. `costs` only asks what is there.

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
        self._lock = Lock()
        self._computing: dict[TokenIds, Future[FloatArray]] = {}
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
        mine: dict[TokenIds, Future[FloatArray]] = {}
        others: dict[TokenIds, Future[FloatArray]] = {}
        found: dict[TokenIds, FloatArray] = {}
        with self._lock:
            for ids in wanted:
                if ids in self._states:
                    self._states.move_to_end(ids)
                    found[ids] = self._states[ids]
                elif ids in self._computing:
                    others[ids] = self._computing[ids]
                else:
                    mine[ids] = self._computing[ids] = Future()
        self._metrics.instructions(hits=len(wanted) - len(mine), misses=len(mine))
        if mine:
            found |= self._compute(mine)
        failed = [ids for ids, future in others.items() if future.exception() is not None]
        found |= {ids: future.result() for ids, future in others.items() if ids not in failed}
        return found | self.states_of(failed) if failed else found

    def _compute(self, futures: Mapping[TokenIds, Future[FloatArray]]) -> Mapping[TokenIds, FloatArray]:
        """Compute states for this batch and for those that wait for them.

        Who waits asks again after an error: it may be the fault of another instruction of this batch.
        """
        try:
            computed = self._encode(futures)
            with self._lock:
                for ids in futures:
                    self._keep(ids, computed[ids])
        except BaseException as error:
            self._end(futures)
            for future in futures.values():
                future.set_exception(error)
            raise
        self._end(futures)
        for ids, future in futures.items():
            future.set_result(computed[ids])
        return computed

    def _end(self, instructions: Iterable[TokenIds]) -> None:
        with self._lock:
            for ids in instructions:
                del self._computing[ids]

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
