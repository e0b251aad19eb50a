"""What processors this process may use: affinity and container quota, not the machine's count, and what they can do."""

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from infembed.control_groups import groups

_CPUINFO = Path("/proc/cpuinfo")


def available_cpus() -> int:
    """Return the usable processor count, at least 1; a quota of 1.5 processors counts as 2."""
    n = len(os.sched_getaffinity(0))
    return max(1, min([n, *(math.ceil(quota) for quota in _quotas())]))


@cache
def has_vnni() -> bool:
    """Whether the processor adds up 8-bit products without overflow (AVX-512 VNNI or AVX-VNNI); False if unknown."""
    flags = next((line.partition(":")[2].split() for line in _lines(_CPUINFO) if line.startswith("flags")), [])
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags)


def _quotas() -> Iterator[float]:
    """Yield the quotas of the process's control groups."""
    for group in groups("cpu"):
        quota = _quota_v2(group.path) if group.is_v2 else _quota_v1(group.path)
        if quota is not None:
            yield quota


def _quota_v2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        quota_us = int((group / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((group / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
