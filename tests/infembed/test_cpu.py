from pathlib import Path

import pytest

from infembed import cpu


@pytest.mark.parametrize(("line", "expected"), [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1)])
def test_a_container_quota_bounds_the_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, expected: int
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(line)
    monkeypatch.setattr(cpu, "_CGROUP_V2", quota)
    monkeypatch.setattr(cpu, "_CGROUP_V1", tmp_path / "none")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert cpu.available_cpus() == expected


def test_the_older_quota_files_are_read_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu.cfs_period_us").write_text("100000")
    monkeypatch.setattr(cpu, "_CGROUP_V2", tmp_path / "none")
    monkeypatch.setattr(cpu, "_CGROUP_V1", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert cpu.available_cpus() == 3
