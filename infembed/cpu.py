"""What processors this process may use: affinity and container quota, not the machine's count, and what they can do."""

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

_CPUINFO = Path("/proc/cpuinfo")
_OWN_GROUPS = Path("/proc/self/cgroup")
_CGROUP_V2 = Path("/sys/fs/cgroup")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


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
    """Yield the quotas of the process's control groups, its own and those above it: the least one binds.

    In a container its own group is mounted as the root, whatever path the kernel names.
    """
    for line in _lines(_OWN_GROUPS):
        _, controllers, path = line.split(":", 2)
        is_v2 = controllers == ""
        if not is_v2 and "cpu" not in controllers.split(","):
            continue
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            quota = _quota_v2(_CGROUP_V2 / group) if is_v2 else _quota_v1(_CGROUP_V1 / group)
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
