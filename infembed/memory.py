"""How much memory this process may have: the limit of its container, not the machine's memory."""

import os
from collections.abc import Iterator

from infembed.control_groups import Group, groups


def available_memory_bytes() -> int:
    """Return the least memory limit of the process's control groups, or the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits()])


def _limits() -> Iterator[int]:
    for group in groups("memory"):
        limit = _limit(group)
        if limit is not None:
            yield limit


def _limit(group: Group) -> int | None:
    name = "memory.max" if group.is_v2 else "memory.limit_in_bytes"
    try:
        return int((group.path / name).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None
