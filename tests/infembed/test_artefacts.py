from pathlib import Path

import pytest

from infembed.artefacts import (
    describe_file,
    new_directory,
    remove_leftovers,
    safe_child,
    verify_files,
    write_atomically,
)
from infembed.errors import AlteredArtefactError, BadArtefactError, MissingArtefactError


def test_verification_accepts_what_was_described(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    verify_files(tmp_path, [describe_file(tmp_path, "a")], remedy="make it again")


@pytest.mark.parametrize("contents", [b"abd", b"abcd", b""])
def test_verification_refuses_altered_contents(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    entry = describe_file(tmp_path, "a")
    (tmp_path / "a").write_bytes(contents)
    with pytest.raises(AlteredArtefactError, match="make it again"):
        verify_files(tmp_path, [entry], remedy="make it again")


def test_verification_names_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    entry = describe_file(tmp_path, "a")
    (tmp_path / "a").unlink()
    with pytest.raises(MissingArtefactError, match="has no file a; make it again"):
        verify_files(tmp_path, [entry], remedy="make it again")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "b/../../a"])
def test_names_that_leave_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadArtefactError, match="leaves"):
        safe_child(tmp_path, name)


def test_a_new_directory_appears_only_when_complete(tmp_path: Path) -> None:
    final = tmp_path / "artefact"
    with new_directory(final) as directory:
        (directory / "a").write_text("x")
        assert not final.exists()
    assert (final / "a").read_text() == "x"
    assert list(tmp_path.iterdir()) == [final]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_directory(tmp_path / "artefact") as directory:
        (directory / "a").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(BadArtefactError, match="exists already"), new_directory(tmp_path):
        pass


def test_an_atomic_write_replaces_the_old_contents(tmp_path: Path) -> None:
    path = tmp_path / "CURRENT"
    path.write_text("old")
    write_atomically(path, b"new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_dead_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-a-1").mkdir()
    (tmp_path / ".tmp-b-2").write_text("half")
    (tmp_path / "kept").write_text("whole")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_link_that_leads_nowhere_takes_a_name_too(tmp_path: Path) -> None:
    (tmp_path / "artefact").symlink_to("nowhere")
    with pytest.raises(BadArtefactError, match="exists already"), new_directory(tmp_path / "artefact"):
        pass


def test_of_two_writers_of_one_name_the_slower_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(BadArtefactError, match="exists already"),
        new_directory(tmp_path / "artefact") as slower,
        new_directory(tmp_path / "artefact") as faster,
    ):
        (slower / "a").write_bytes(b"1")
        (faster / "a").write_bytes(b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["artefact"]
    assert (tmp_path / "artefact" / "a").read_bytes() == b"2"


def test_what_a_killed_writer_left_is_removed_by_the_next_of_that_name(tmp_path: Path) -> None:
    for name in (".tmp-artefact-0", ".tmp-other-0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"1")
    with new_directory(tmp_path / "artefact"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-other-0", "artefact"]
