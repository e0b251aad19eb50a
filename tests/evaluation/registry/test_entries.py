import json

import pytest

from evaluation.registry.entries import GENESIS, Action, State, _digest, fold, read_line, write_line
from infembed.errors import AlteredArtefactError, NewerArtefactError
from tests.evaluation.registry.chains import follow, history, release


def test_an_empty_chain_has_no_champion() -> None:
    state = fold([], where="log")
    assert (state.head, state.champion, state.candidate, state.earlier_champion) == (GENESIS, None, None, None)


def test_the_last_entry_says_what_is_in_production() -> None:
    entries = history()
    assert [fold(entries[:n], where="log").champion for n in range(7)] == [
        None,
        None,
        release(1),
        release(1),
        release(2, index="gen-000001-a"),
        release(2, index="gen-000002-b"),
        release(1),
    ]


def test_a_rollback_goes_to_the_champion_before_whatever_its_amendments() -> None:
    entries = history()
    targets = [fold(entries[:n], where="log").earlier_champion for n in range(7)]
    assert targets == [None, None, None, None, release(1), release(1), None]
    follow(entries, Action.PROMOTE, release(3))
    follow(entries, Action.AMEND, release(3, index="gen-000003-c"))
    follow(entries, Action.PROMOTE, release(4))
    assert fold(entries, where="log").earlier_champion == release(3, index="gen-000003-c")


def test_an_entry_that_was_overtaken_is_void_and_changes_nothing() -> None:
    entries = history()
    late = entries[3].model_copy(update={"id": "late-entry", "by": "bob", "champion": release(9)})
    state = fold([*entries[:4], late, *entries[4:]], where="log")
    assert state == State(tuple(entries), (late,))


@pytest.mark.parametrize("gone", range(5))
def test_a_chain_that_lacks_an_entry_is_refused(gone: int) -> None:
    entries = history()
    with pytest.raises(AlteredArtefactError, match="does not follow"):
        fold(entries[:gone] + entries[gone + 1 :], where="log")


def test_exchanged_entries_are_refused() -> None:
    first, second, *rest = history()
    with pytest.raises(AlteredArtefactError, match="does not follow"):
        fold([second, first, *rest], where="log")


def test_a_line_survives_writing_and_reading() -> None:
    for entry in history():
        assert read_line(write_line(entry), where="line") == entry


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"by":"ann"', '"by":"bob"', "has hash"),
        ('"action":"register"', '"action":"promote"', "has hash"),
        ('"number":1', '"number":0', "is not a decision: number"),
        ('"hash":"', '"hash":"0', "has hash"),
        ("{", "", "is not a decision"),
        ('"hash"', '"hush"', "is not a decision: KeyError"),
    ],
)
def test_an_edited_line_is_refused(old: str, new: str, message: str) -> None:
    line = write_line(history()[0])
    with pytest.raises(AlteredArtefactError, match=message):
        read_line(line.replace(old, new, 1), where="line 1")


WRITTEN_BY_0_1 = (
    '{"entry":{"action":"amend","at":"2026-01-01T00:00:00+00:00","by":"ann","candidate":null,"champion":{"bundle_digest":"'
    f'{2:064x}","document_fingerprint":"{"f" * 64}","fusion":"prefix","index":{{"collection":"/blue","generation":'
    f'"gen-000002-b","manifest_sha256":"{2:064x}"}},"name":"m2","run_id":"r","signature_sha256":null,"version":2}},'
    '"decision_sha256":null,"id":"entry-0004","is_override":false,"number":5,"policy_sha256":null,"previous":'
    '"1bed08bea0a7a2c3989fc2df624d2f3a996a1a9c8f4d7b5e50b02e6943403868","reason":null,"schema_version":1,"verdict":null},'
    '"hash":"887bbe072029853f1cbf7f3c0a2100f869d618df797c29f7dffe352dbc6b5bb8"}'
)


def test_what_earlier_releases_wrote_keeps_its_hash() -> None:
    """A new field of an entry must be left out of its JSON where it is not set, or every old log reads as altered."""
    entry = read_line(WRITTEN_BY_0_1, where="line")
    assert entry == history()[4]
    assert write_line(entry) == WRITTEN_BY_0_1


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"region": "eu"}])
def test_an_entry_of_a_later_release_is_not_taken_for_an_alteration(change: dict[str, object]) -> None:
    fields = history()[0].model_dump(mode="json") | change
    line = json.dumps({"entry": fields, "hash": _digest(fields)})
    with pytest.raises(NewerArtefactError, match=r"line 1 has (schema version 2|region).*reading it needs a newer one"):
        read_line(line, where="line 1")
    with pytest.raises(AlteredArtefactError, match="is not a decision"):
        read_line(line.replace('"by": "ann"', '"by": "bob"'), where="line 1")


def test_the_newest_record_of_a_bundle_is_found() -> None:
    state = fold(history()[:5], where="log")
    assert state.release_of(f"{2:064x}") == release(2, index="gen-000002-b")
    assert state.release_of_version(1) == release(1)
    assert state.release_of_version(7) is None
