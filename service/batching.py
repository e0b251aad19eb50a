"""Which waiting inputs make the next batch: a pure policy over sizes and a budget, without clock or event loop.

The model pads every row to the longest, so a batch of n rows costs n x the longest. With little waiting the order is
first come, first served, at once: nothing waits for company. With a backlog of two batches or more, the oldest input
leads and the batch is filled with those closest to it in length, so that few tokens are padding and none starves.

Requests of many inputs wait in a lane of their own, so that ingestion cannot starve single queries: `Backlog` says what
each lane is promised.
"""

import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

_WINDOW_BATCHES = 8
_WINDOW_INPUTS = 1024
"""How far a batch looks for inputs of its length: sorting costs time in which the model could run."""


class Size(NamedTuple):
    """Tokens of one input; those of its instruction are rows of keys and values rather than of the model's."""

    text: int
    instruction: int = 0

    @property
    def total(self) -> int:
        return self.text + self.instruction


class Lane(StrEnum):
    """Who waits with whom, most urgent first."""

    URGENT = "urgent"
    INTERACTIVE = "interactive"
    BULK = "bulk"


class Waiting(Protocol):
    """An input that waits."""

    @property
    def size(self) -> Size: ...

    @property
    def deadline(self) -> float: ...


W = TypeVar("W", bound=Waiting)


class Batch(NamedTuple, Generic[W]):
    """What runs next, oldest first, and what was found to have waited too long."""

    works: list[W]
    expired: list[W]


class Backlog(Generic[W]):
    """Inputs waiting in lanes, oldest first.

    - Urgent inputs go before all others.
    - While interactive and bulk inputs both wait, bulk gets at most a `SHARE`th of the tokens that interactive inputs
      get, and one batch.
    - Bulk goes on: between two of its batches interactive inputs get `SHARE` full batches and one more at most.
    - Within a lane the oldest input is in the next batch of the lane.
    """

    SHARE = 3

    def __init__(self, *, budget: int) -> None:
        self._budget = budget
        self._lanes: dict[Lane, OrderedDict[W, None]] = {lane: OrderedDict() for lane in Lane}
        self._served_before_bulk = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def add(self, works: Iterable[W], lane: Lane) -> None:
        """Let inputs wait."""
        self._lanes[lane].update(dict.fromkeys(works))

    def remove(self, work: W, lane: Lane) -> bool:
        """Take an input out, wherever it stands; false if it no longer waits."""
        waits = work in self._lanes[lane]
        self._lanes[lane].pop(work, None)
        return waits

    @property
    def next_lane(self) -> Lane | None:
        """The lane of the next batch; None: nothing waits."""
        if self._lanes[Lane.URGENT]:
            return Lane.URGENT
        if not self._lanes[Lane.BULK]:
            return Lane.INTERACTIVE if self._lanes[Lane.INTERACTIVE] else None
        is_bulks_turn = self._served_before_bulk >= self.SHARE * self._budget
        return Lane.BULK if is_bulks_turn or not self._lanes[Lane.INTERACTIVE] else Lane.INTERACTIVE

    def take(self, now: float, *, n_runs: int = 1, running_tokens: int = 0) -> Batch[W]:
        """Take out the next batch; it is empty when nothing waits, or nothing that still has time.

        Where `n_runs` batches run side by side, one gets its share of all that waits and runs, so that they stay alike:
        one that took all that waits would leave the others to run on a text or two.
        """
        lane = self.next_lane
        if lane is None:
            return Batch([], [])
        alive, expired = self._window(lane, now)
        sizes = [work.size for work in alive]
        share = -(-(sum(size.total for size in sizes) + running_tokens) // n_runs)
        rows = fill_batch(sizes, budget=self._budget, share=share)
        batch = Batch([alive[row] for row in rows], expired)
        for work in (*batch.works, *expired):
            del self._lanes[lane][work]
        self._account(lane, sum(work.size.total for work in batch.works))
        return batch

    def _window(self, lane: Lane, now: float) -> tuple[list[W], list[W]]:
        """Look at the oldest inputs: those that still have time, and those whose time has run out."""
        alive: list[W] = []
        expired: list[W] = []
        n_tokens = 0
        for work in islice(self._lanes[lane], _WINDOW_INPUTS):
            (alive if work.deadline > now else expired).append(work)
            n_tokens += work.size.total
            if n_tokens >= _WINDOW_BATCHES * self._budget:
                break
        return alive, expired

    def _account(self, lane: Lane, n_tokens: int) -> None:
        if lane is Lane.INTERACTIVE and self._lanes[Lane.BULK]:
            self._served_before_bulk += n_tokens
        elif lane is Lane.BULK and self._lanes[Lane.INTERACTIVE]:
            self._served_before_bulk -= self.SHARE * n_tokens
        elif lane is Lane.BULK:
            self._served_before_bulk = 0


def fill_batch(sizes: Sequence[Size], *, budget: int, share: int = sys.maxsize) -> list[int]:
    """Choose positions of `sizes` (oldest first) for one batch, in order; never empty unless `sizes` is.

    The padded cost, rows x (longest text + longest instruction), stays within `budget`, and the tokens without padding
    within `share`, except that an input larger than one of them goes alone.
    """
    if not sizes:
        return []
    if sum(size.total for size in sizes) < 2 * min(budget, share):
        return _in_order(sizes, range(len(sizes)), budget, share)
    lead = sizes[0]
    by_closeness = sorted(range(1, len(sizes)), key=lambda i: (_distance(sizes[i], lead), i))
    return sorted(_in_order(sizes, [0, *by_closeness], budget, share))


def _distance(a: Size, b: Size) -> int:
    return abs(a.text - b.text) + abs(a.instruction - b.instruction)


def _in_order(sizes: Sequence[Size], order: Iterable[int], budget: int, share: int) -> list[int]:
    chosen: list[int] = []
    text = instruction = n_tokens = 0
    for position in order:
        text = max(text, sizes[position].text)
        instruction = max(instruction, sizes[position].instruction)
        n_tokens += sizes[position].total
        if chosen and ((text + instruction) * (len(chosen) + 1) > budget or n_tokens > share):
            break
        chosen.append(position)
    return chosen
