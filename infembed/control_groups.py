"""The control groups of this process: directories that hold the limits of its container."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_OWN_GROUPS = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


class Group(NamedTuple):
    """One group's directory; the two versions keep a limit in files of different names."""

    path: Path
    is_v2: bool


def groups(controller: str) -> Iterator[Group]:
    """Yield the process's own group of a controller and those above it: of their limits the least binds.

    In a container its own group is mounted as the root, whatever path the kernel names.
    """
    for line in _own_groups():
        _, controllers, path = line.split(":", 2)
        is_v2 = controllers == ""
        if not is_v2 and controller not in controllers.split(","):
            continue
        own = PurePosixPath(path.lstrip("/"))
        root = _MOUNTED if is_v2 else _MOUNTED / controller
        yield from (Group(root / group, is_v2) for group in (own, *own.parents))


def _own_groups() -> list[str]:
    try:
        return _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
