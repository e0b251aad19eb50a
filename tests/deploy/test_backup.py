"""Backups are whole, taken while others write, and put back exactly what they hold."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deploy import backup
from deploy.backup import Refused, create, main, restore, verify


def _generation(collection: Path, name: str, data: bytes) -> None:
    """Write a generation and make it the current one, as the builder does."""
    directory = collection / "generations" / name
    directory.mkdir(parents=True)
    (directory / "index.faiss").write_bytes(data)
    entry = {"name": "index.faiss", "sha256": hashlib.sha256(data).hexdigest()}
    (directory / "MANIFEST.json").write_text(json.dumps({"files": [entry]}))
    (collection / "CURRENT").write_text(f"{name}\n")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A collection of three generations, one of them pinned, a registry with its artifacts, and settings."""
    root = tmp_path / "srv"
    bread = root / "collections" / "bread"
    for number in (1, 2, 3):
        _generation(bread, f"gen-00000{number}-aaaaaaaa", b"vectors %d" % number)
    (bread / "LOCK").touch()
    (bread / "pins").mkdir()
    (bread / "pins" / "gen-000001-aaaaaaaa").touch()
    (bread / "unfinished").mkdir()
    (bread / "unfinished" / "part-000000.f16").write_bytes(b"half")
    registry = root / "registry"
    (registry / "artifacts" / "1").mkdir(parents=True)
    (registry / "artifacts" / "1" / "weights.bin").write_bytes(b"weights")
    (registry / "decisions.jsonl").write_text("one\n")
    with closing(sqlite3.connect(registry / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE versions (number INTEGER)")
        connection.execute("INSERT INTO versions VALUES (1)")
    (root / "infembed.toml").write_text('bundle = "b"\n')
    return root


def _arguments(site: Path) -> list[str]:
    return [
        *("--collections", str(site / "collections"), "--registry", str(site / "registry")),
        *("--file", str(site / "infembed.toml")),
    ]


def _contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_is_restored_is_what_was_backed_up(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _contents(site)
    saved = str(tmp_path / "backup")
    assert main(["create", saved, *_arguments(site)]) == 0
    shutil.rmtree(site)
    assert main(["verify", saved]) == 0
    assert main(["restore", saved]) == 0
    after = _contents(site)
    left_out = {name for name in before if "gen-000002" in name or name.endswith("LOCK") or "unfinished" in name}
    assert {name: data for name, data in before.items() if name not in left_out | {"registry/mlflow.db"}} == {
        name: data for name, data in after.items() if name != "registry/mlflow.db"
    }
    with closing(sqlite3.connect(site / "registry" / "mlflow.db")) as connection:
        assert connection.execute("SELECT number FROM versions").fetchall() == [(1,)]
    assert str(site / "collections") in capsys.readouterr().out


def test_collections_below_blue_and_green_are_found_as_well(site: Path, tmp_path: Path) -> None:
    for side in ("blue", "green"):
        _generation(site / "collections" / side / "docs", "gen-000001-bbbbbbbb", side.encode())
    before = _contents(site / "collections")
    create(tmp_path / "backup", collections=site / "collections")
    shutil.rmtree(site)
    restore(tmp_path / "backup")
    below = {name: data for name, data in before.items() if name.startswith(("blue", "green"))}
    assert len(below) == 6
    assert below.items() <= _contents(site / "collections").items()


def test_a_generation_that_a_writer_removes_meanwhile_gives_way_to_the_new_one(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bread = site / "collections" / "bread"
    save_generation = backup._save_generation
    copied: list[str] = []

    def save(source: Path, target: Path) -> None:
        if not copied:
            _generation(bread, "gen-000004-aaaaaaaa", b"vectors 4")
            shutil.rmtree(bread / "generations" / "gen-000003-aaaaaaaa")
        copied.append(source.name)
        save_generation(source, target)

    monkeypatch.setattr(backup, "_save_generation", save)
    create(tmp_path / "backup", collections=site / "collections")
    saved = tmp_path / "backup" / "collections" / "bread"
    assert (saved / "CURRENT").read_text() == "gen-000004-aaaaaaaa\n"
    assert sorted(path.name[:10] for path in (saved / "generations").iterdir()) == ["gen-000001", "gen-000004"]


def test_decisions_made_meanwhile_leave_the_log_behind_the_database_never_before_it(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = site / "registry"
    connect = sqlite3.connect

    def decide(*arguments: object, **options: object) -> sqlite3.Connection:
        if options:  # the backup opens the database: a promotion commits just before
            with closing(connect(registry / "mlflow.db")) as connection, connection:
                connection.execute("INSERT INTO versions VALUES (2)")
            (registry / "decisions.jsonl").write_text("one\ntwo\n")
        return connect(*arguments, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(sqlite3, "connect", decide)
    create(tmp_path / "backup", registry=registry)
    monkeypatch.undo()
    with closing(sqlite3.connect(tmp_path / "backup" / "registry" / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM versions").fetchone() == (2,)
    assert (tmp_path / "backup" / "registry" / "decisions.jsonl").read_text() == "one\n"


def test_the_pointer_is_restored_after_what_it_points_to(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "backup", collections=site / "collections")
    shutil.rmtree(site)
    placed: list[str] = []
    place = backup._place

    def note(source: Path, target: Path) -> None:
        placed.append(target.name)
        place(source, target)

    monkeypatch.setattr(backup, "_place", note)
    restore(tmp_path / "backup")
    assert placed[-1] == "CURRENT"
    assert placed.count("CURRENT") == 1


def _flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda saved: _flip(saved / "registry" / "decisions.jsonl"), "is not what was backed up"),
        (lambda saved: (saved / "registry" / "mlflow.db").unlink(), "has lost registry/mlflow.db"),
        (lambda saved: (saved / "backup.json").unlink(), "is no backup"),
        (lambda saved: (saved / "backup.json").write_text("{"), "cannot be read"),
        (lambda saved: (saved / "backup.json").write_text('{"schema_version": 2}'), "use the script that wrote it"),
    ],
)
def test_a_damaged_backup_restores_nothing(
    site: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    saved = tmp_path / "backup"
    create(saved, registry=site / "registry")
    damage(saved)
    shutil.rmtree(site)
    with pytest.raises(Refused, match=words):
        restore(saved)
    assert not site.exists()


def test_nothing_is_overwritten(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "backup"
    assert main(["create", str(saved), *_arguments(site)]) == 0
    before = _contents(site)
    assert main(["create", str(saved), *_arguments(site)]) == 3
    shutil.rmtree(site / "collections")
    assert main(["restore", str(saved)]) == 3
    assert not (site / "collections").exists()
    assert {name: data for name, data in before.items() if not name.startswith("collections")} == _contents(site)
    assert "would be overwritten; move it away first" in capsys.readouterr().err


def test_damage_is_not_backed_up_and_a_failure_leaves_nothing(site: Path, tmp_path: Path) -> None:
    _flip(site / "collections" / "bread" / "generations" / "gen-000003-aaaaaaaa" / "index.faiss")
    with pytest.raises(Refused, match="index.faiss is damaged; build the collection again"):
        create(tmp_path / "backup", collections=site / "collections")
    assert [path.name for path in tmp_path.iterdir()] == ["srv"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing to back up"),
        (["--collections", "{}/registry"], "holds no collection"),
        (["--registry", "{}/collections"], "is no registry"),
        (["--file", "{}/absent"], "there is no .*absent"),
    ],
)
def test_a_place_that_holds_no_such_thing_is_named(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["create", str(tmp_path / "backup"), *(option.format(site) for option in options)]) == 3
    with pytest.raises(Refused, match=words):
        raise Refused(capsys.readouterr().err)


def test_verifying_says_what_is_there(site: Path, tmp_path: Path) -> None:
    made = create(tmp_path / "backup", collections=site / "collections")
    assert verify(tmp_path / "backup") == made
    assert [part.path for part in made.parts] == [str(site / "collections")]
