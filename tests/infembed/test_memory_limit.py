"""How much memory a process may have, read from the control groups of either version."""

from pathlib import Path

import pytest

from infembed import control_groups
from infembed.memory import available_memory_bytes

MACHINE = 8 * 4096


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of eight pages, and a directory for control groups."""
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 8}.__getitem__)
    monkeypatch.setattr(control_groups, "_MOUNTED", tmp_path)
    monkeypatch.setattr(control_groups, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path


@pytest.mark.parametrize(("written", "expected"), [("max\n", MACHINE), ("8192\n", 8192), ("99999999\n", MACHINE)])
def test_the_containers_limit_counts_where_it_is_below_the_machines_memory(
    groups: Path, written: str, expected: int
) -> None:
    (groups / "own").write_text("0::/docker/abc\n")
    (groups / "memory.max").write_text(written)
    assert available_memory_bytes() == expected


def test_the_least_limit_of_a_group_and_those_above_it_binds(groups: Path) -> None:
    (groups / "own").write_text("0::/pods/this\n")
    (groups / "pods" / "this").mkdir(parents=True)
    (groups / "pods" / "this" / "memory.max").write_text("12288\n")
    (groups / "pods" / "memory.max").write_text("4096\n")
    assert available_memory_bytes() == 4096


def test_the_older_limit_file_is_read_too(groups: Path) -> None:
    (groups / "own").write_text("4:cpu:/docker/abc\n12:memory:/docker/abc\n")
    (groups / "memory").mkdir()
    (groups / "memory" / "memory.limit_in_bytes").write_text("16384\n")
    assert available_memory_bytes() == 16384


def test_without_control_groups_the_machines_memory_counts(groups: Path) -> None:
    assert available_memory_bytes() == MACHINE
