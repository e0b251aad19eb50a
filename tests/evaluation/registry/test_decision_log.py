from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.registry.decision_log import append, missing_from, read_log
from evaluation.registry.entries import Entry, write_line
from infembed.errors import AlteredArtefactError
from tests.evaluation.registry.chains import history


def bring_after(path: Path, committed: list[Entry]) -> int:
    """Do what every command does first; returns how many entries the file lacked."""
    contents = read_log(path)
    missing = missing_from(path, contents, committed)
    if missing:
        append(path, contents, missing)
    return len(missing)


def test_a_file_that_is_not_there_is_written_whole(tmp_path: Path) -> None:
    path, entries = tmp_path / "decisions.jsonl", history()
    assert bring_after(path, entries[:2]) == 2
    assert bring_after(path, entries) == 4
    assert bring_after(path, entries) == 0
    assert path.read_text() == "".join(write_line(entry) + "\n" for entry in entries)


WHOLE = "".join(write_line(entry) + "\n" for entry in history()).encode()


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=0, max_value=len(WHOLE)))
def test_a_write_that_ended_at_any_byte_is_completed(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.mktemp("log") / "decisions.jsonl"
    path.write_bytes(WHOLE[:length])
    bring_after(path, history())
    assert path.read_bytes() == WHOLE


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0, max_value=len(WHOLE) - 2), st.integers(min_value=1, max_value=255))
def test_one_changed_byte_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "decisions.jsonl"
    raw = bytearray(WHOLE)
    raw[place] ^= change
    path.write_bytes(raw)
    with pytest.raises(AlteredArtefactError):
        bring_after(path, history())


def test_a_torn_line_of_something_else_is_an_alteration(tmp_path: Path) -> None:
    path, entries = tmp_path / "decisions.jsonl", history()
    bring_after(path, entries[:2])
    path.write_bytes(path.read_bytes() + b'{"entry":{"action":"promote"')
    with pytest.raises(AlteredArtefactError, match="28 bytes that are no part of decision 3"):
        bring_after(path, entries)


def test_bytes_after_the_last_decision_are_an_alteration(tmp_path: Path) -> None:
    path, entries = tmp_path / "decisions.jsonl", history()
    bring_after(path, entries)
    path.write_bytes(path.read_bytes() + b"{")
    with pytest.raises(AlteredArtefactError, match="no part of decision 7"):
        bring_after(path, entries)


def test_a_registry_that_lost_decisions_is_found_out(tmp_path: Path) -> None:
    path, entries = tmp_path / "decisions.jsonl", history()
    bring_after(path, entries)
    with pytest.raises(AlteredArtefactError, match="holds 6 decisions, the registry only 4"):
        bring_after(path, entries[:4])


def test_a_registry_with_a_rewritten_history_is_found_out(tmp_path: Path) -> None:
    path, entries = tmp_path / "decisions.jsonl", history()
    bring_after(path, entries)
    rewritten = [*entries[:5], entries[5].model_copy(update={"by": "mallory"})]
    with pytest.raises(AlteredArtefactError, match="decision 6 differs"):
        bring_after(path, rewritten)
