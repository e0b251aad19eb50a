"""Which waiting inputs make the next batch: a pure function of costs and a budget.

The model pads every row to the longest, so a batch of n rows costs n x the longest. With little waiting the order is
first come, first served, at once: nothing waits for company. With a backlog of two batches or more, the oldest input
leads and the batch is filled with those closest to it in length, so that few tokens are padding and none starves.
"""

from collections.abc import Sequence


def fill_batch(lengths: Sequence[int], *, budget: int) -> list[int]:
    """Choose positions of `lengths` (oldest first) for one batch; never empty unless `lengths` is.

    The padded cost stays within `budget`, except that an input longer than it goes alone.
    """
    if not lengths:
        return []
    if sum(lengths) < 2 * budget:
        return _in_order(lengths, range(len(lengths)), budget)
    lead = lengths[0]
    by_closeness = sorted(range(1, len(lengths)), key=lambda i: (abs(lengths[i] - lead), i))
    return sorted(_in_order(lengths, [0, *by_closeness], budget))


def _in_order(lengths: Sequence[int], order: Sequence[int], budget: int) -> list[int]:
    chosen: list[int] = []
    longest = 0
    for position in order:
        longest = max(longest, lengths[position])
        if chosen and longest * (len(chosen) + 1) > budget:
            break
        chosen.append(position)
    return chosen
