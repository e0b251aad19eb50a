"""What processors this process may use: affinity and container quota, not the machine's count, and what they can do."""

import math
import os
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def available_cpus() -> int:
    """Return the usable processor count, at least 1; a quota of 1.5 processors counts as 2."""
    n = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return max(1, n if quota is None else min(n, math.ceil(quota)))


@cache
def has_vnni() -> bool:
    """Whether the processor adds up 8-bit products without overflow (AVX-512 VNNI or AVX-VNNI); False if unknown."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())
    return not flags.isdisjoint({"avx512_vnni", "avx_vnni"})


def _cgroup_quota() -> float | None:
    try:
        quota, period = _CGROUP_V2.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((_CGROUP_V1 / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((_CGROUP_V1 / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 else None
