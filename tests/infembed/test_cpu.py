from pathlib import Path

import pytest

from infembed import control_groups, cpu


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Eight processors, and directories for control groups of either version."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "groups" / "cpu").mkdir(parents=True)
    monkeypatch.setattr(control_groups, "_MOUNTED", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "_OWN_GROUPS", tmp_path / "cgroup")
    return tmp_path


@pytest.mark.parametrize(("line", "expected"), [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1)])
def test_a_container_quota_bounds_the_count(groups: Path, line: str, expected: int) -> None:
    (groups / "cgroup").write_text("0::/\n")
    (groups / "groups" / "cpu.max").write_text(line)
    assert cpu.available_cpus() == expected


def test_the_least_quota_of_a_group_and_those_above_it_binds(groups: Path) -> None:
    (groups / "cgroup").write_text("0::/pods/this\n")
    (groups / "groups" / "pods" / "this").mkdir(parents=True)
    (groups / "groups" / "pods" / "this" / "cpu.max").write_text("max 100000")
    (groups / "groups" / "pods" / "cpu.max").write_text("300000 100000")
    assert cpu.available_cpus() == 3


def test_the_older_quota_files_are_read_too(groups: Path) -> None:
    """A container sees its own group as the root; the kernel still names it as the host does."""
    (groups / "cgroup").write_text("12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n")
    (groups / "groups" / "cpu" / "cpu.cfs_quota_us").write_text("300000")
    (groups / "groups" / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpu.available_cpus() == 3


def test_an_unlimited_older_quota_is_none(groups: Path) -> None:
    (groups / "cgroup").write_text("4:cpu:/\n")
    (groups / "groups" / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    (groups / "groups" / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpu.available_cpus() == 8


def test_without_control_groups_the_affinity_counts(groups: Path) -> None:
    assert cpu.available_cpus() == 8


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu avx2 avx512_vnni", True), ("fpu avx_vnni", True), ("fpu avx2 avx512f", False)]
)
def test_vnni_is_read_from_the_processor_flags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, expected: bool
) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n\nprocessor : 1\n")
    assert cpu.has_vnni.__wrapped__() is expected


def test_an_unknown_processor_has_no_vnni(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "absent")
    assert not cpu.has_vnni.__wrapped__()
