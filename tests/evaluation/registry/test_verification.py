import sqlite3
from pathlib import Path

import pytest

from evaluation.registry import promotion
from evaluation.registry.decision_log import LOG_FILE
from evaluation.registry.store import DECISIONS, Store
from evaluation.registry.verification import verify
from infembed.errors import AlteredArtefactError
from infembed.signatures import make_key_pair
from tests.evaluation.registry.registries import ANN, Bundles, make_collection


def problems(store: Store, **options: Path) -> list[str]:
    return [finding.text for finding in verify(store, **options) if finding.is_problem]


def execute(store: Store, statement: str) -> None:
    """Do to the database what MLflow would not."""
    connection = sqlite3.connect(store.location.database)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_an_untouched_registry_has_no_problem(store: Store) -> None:
    assert problems(store) == []


def test_an_alias_moved_by_hand_is_reported_and_set_right(store: Store) -> None:
    store._client.set_registered_model_alias("inf-embed", "champion", "2")
    (problem,) = problems(store)
    assert "alias champion points to version 2, the log says 1" in problem
    assert promotion.recover(store) == ["alias champion: version 2 -> 1"]
    assert problems(store) == []


def test_a_log_file_that_lags_is_reported_and_completed(store: Store) -> None:
    path = store.location.directory / LOG_FILE
    raw = path.read_bytes()
    path.write_bytes(raw[:-100])
    (problem,) = problems(store)
    assert "lacks the last 1 decisions and ends in a torn line" in problem
    (done,) = promotion.recover(store)
    assert "1 decisions added after cutting off" in done
    assert path.read_bytes() == raw


def test_an_edited_log_file_is_reported_among_the_rest_and_stops_every_writer(store: Store, bundles: Bundles) -> None:
    path = store.location.directory / LOG_FILE
    path.write_bytes(path.read_bytes().replace(b'"by":"ann"', b'"by":"bob"', 1))
    (problem,) = problems(store)
    assert "decisions.jsonl, line 1 has hash" in problem
    assert any(finding.text.startswith("champion: the files of") for finding in verify(store))
    with pytest.raises(AlteredArtefactError):
        promotion.rollback(store, ANN)
    with pytest.raises(AlteredArtefactError):
        promotion.register(store, bundles.other, ANN)


def test_an_edited_record_in_the_registry_is_found_out(store: Store) -> None:
    execute(store, "UPDATE model_version_tags SET value = replace(value, 'ann', 'bob') WHERE key = 'entry'")
    with pytest.raises(AlteredArtefactError, match="record 1 has hash"):
        verify(store)


def test_a_deleted_record_is_found_out(store: Store) -> None:
    store._client.delete_model_version(DECISIONS, "2")
    with pytest.raises(AlteredArtefactError, match="lacks its record 2"):
        verify(store)


def test_a_deleted_last_record_is_found_out_by_the_file(store: Store) -> None:
    store._client.delete_model_version(DECISIONS, "3")
    assert "holds 3 decisions, the registry only 2" in problems(store)[0]


def test_a_bundle_altered_in_the_registry_is_reported(store: Store) -> None:
    for path in (store.location.directory / "artifacts").rglob("tokenizer.json"):
        path.write_bytes(b"{}")
    assert [text.split(":")[0] for text in problems(store)] == ["champion", "candidate"]


def test_an_unsigned_champion_is_reported_where_a_key_is_configured(store: Store, tmp_path: Path) -> None:
    assert all("is not signed" in text for text in problems(store, public_key=make_key_pair(tmp_path / "ours")))


def test_a_lost_index_generation_is_reported(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
    champion = promotion.amend(store, ANN, index=blue)
    assert champion.index is not None
    (blue / "generations" / champion.index.generation).rename(blue / "generations" / "moved")
    (problem,) = problems(store)
    assert "there is no index generation" in problem
