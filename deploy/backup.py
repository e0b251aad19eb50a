"""Back up and restore what cannot be made again: collections, an embedded registry, settings. Needs Python alone.

    python deploy/backup.py create BACKUP --collections DIR --registry DIR --file infembed.toml
    python deploy/backup.py verify BACKUP
    python deploy/backup.py restore BACKUP

Services, writers and promotions go on meanwhile. Generations never change once CURRENT names them, so a generation is
copied and then its pointer. Of a registry the decision log comes first, then the database, in one SQLite transaction,
then the files: a log may trail the database and files may be there before it knows them, never the other way round.
"""

import argparse
import hashlib
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

INVENTORY = "backup.json"
SCHEMA_VERSION = 1
_CURRENT, _GENERATIONS, _PINS, _MANIFEST = "CURRENT", "generations", "pins", "MANIFEST.json"
_LOG, _DATABASE = "decisions.jsonl", "mlflow.db"
_ATTEMPTS = 5
_REFUSED = 3


class Refused(Exception):  # noqa: N818 - what the script says, not what it failed on
    """Nothing was done, for the reason in the message."""


@dataclass(frozen=True)
class Part:
    """One thing that was backed up: `folder` inside the backup is what lay at `path`, an absolute path."""

    folder: str
    path: str


@dataclass(frozen=True)
class SavedFile:
    """A file of the backup by its name in it."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Inventory:
    """What a backup holds."""

    made_at: str
    parts: list[Part]
    files: list[SavedFile]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def create(
    backup: Path, *, collections: Path | None = None, registry: Path | None = None, files: Sequence[Path] = ()
) -> Inventory:
    """Write a backup, whole or not at all; `files` may be directories, such as a bundle outside a registry."""
    if backup.exists():
        raise Refused(f"{backup} exists already; name a new backup")
    if collections is None and registry is None and not files:
        raise Refused("nothing to back up; give --collections, --registry or --file")
    temporary = backup.with_name(f".tmp-{backup.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        parts = list(_save(temporary, collections, registry, files))
        inventory = Inventory(datetime.now(UTC).isoformat(timespec="seconds"), parts, list(_describe(temporary)))
        text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(inventory)}, indent=1)
        (temporary / INVENTORY).write_text(text + "\n", encoding="utf-8")
        os.sync()
        temporary.rename(backup)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return inventory


def verify(backup: Path) -> Inventory:
    """Check every file of a backup against its digest."""
    inventory = _read(backup)
    for file in inventory.files:
        path = backup / file.name
        if not path.is_file():
            raise Refused(f"{backup} has lost {file.name}; use another backup")
        if path.stat().st_size != file.size_bytes or _sha256(path) != file.sha256:
            raise Refused(f"{path} is not what was backed up; use another backup")
    return inventory


def restore(backup: Path) -> Inventory:
    """Put everything back where it was; whatever lies there must be removed first, nothing is overwritten.

    To the same paths, since a registry records where its files and the index generations lie.
    """
    inventory = verify(backup)
    for part in inventory.parts:
        _refuse_occupied(Path(part.path))
    for part in inventory.parts:
        source, target = backup / part.folder, Path(part.path)
        if source.is_file():
            _place(source, target)
            continue
        for path in sorted(_files_below(source), key=lambda path: path.name == _CURRENT):
            _place(path, target / path.relative_to(source))
    os.sync()
    return inventory


def _save(temporary: Path, collections: Path | None, registry: Path | None, files: Sequence[Path]) -> Iterator[Part]:
    if collections is not None:
        # Those of Kubernetes lie one deeper, below `blue` and `green`.
        found = sorted(path.parent for depth in ("*", "*/*") for path in collections.glob(f"{depth}/{_CURRENT}"))
        if not found:
            raise Refused(f"{collections} holds no collection; name the directory above them")
        for source in found:
            _save_collection(source, temporary / "collections" / source.relative_to(collections))
        yield Part("collections", str(collections.absolute()))
    if registry is not None:
        _save_registry(registry, temporary / "registry")
        yield Part("registry", str(registry.absolute()))
    for number, path in enumerate(files):
        if not path.exists():
            raise Refused(f"there is no {path}; correct --file")
        folder = f"files/{number}/{path.name}"
        (temporary / folder).parent.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, temporary / folder)
        else:
            shutil.copy2(path, temporary / folder)
        yield Part(folder, str(path.absolute()))


def _save_collection(source: Path, target: Path) -> None:
    """Copy current and pinned generations, then what names them; again if a writer removed one meanwhile."""
    for _ in range(_ATTEMPTS):
        current = (source / _CURRENT).read_text(encoding="utf-8").strip()
        pinned = {path.name for path in (source / _PINS).glob("gen-*")}
        generations = {name: source / _GENERATIONS / name for name in {current, *pinned}}
        try:
            for name, path in generations.items():
                if (
                    path.is_dir() or name == current
                ):  # a pin that outlived its generation is `registry verify`'s business
                    _save_generation(path, target / _GENERATIONS / name)
        except (FileNotFoundError, shutil.Error):
            if all(path.is_dir() for path in generations.values()):
                raise
            shutil.rmtree(target, ignore_errors=True)
            continue
        (target / _PINS).mkdir()
        for name in pinned:
            (target / _PINS / name).touch()
        (target / _CURRENT).write_text(f"{current}\n", encoding="utf-8")
        return
    raise Refused(f"{source} lacks the generation that its {_CURRENT} names; build the collection again")


def _save_generation(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for entry in json.loads((target / _MANIFEST).read_bytes())["files"]:
        if _sha256(target / entry["name"]) != entry["sha256"]:
            raise Refused(f"{source / entry['name']} is damaged; build the collection again, then back it up")


def _save_registry(source: Path, target: Path) -> None:
    """Copy log, database and files in the order in which each may be behind the next."""
    target.mkdir()
    if not (source / _DATABASE).is_file() and not any(source.rglob(_LOG)):
        raise Refused(f"{source} is no registry (no {_DATABASE} or {_LOG} there); correct --registry")
    for log in source.rglob(_LOG):
        copy = target / log.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(log, copy)
    if (source / _DATABASE).is_file():
        uri = f"{(source / _DATABASE).absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True)) as database,
            closing(sqlite3.connect(target / _DATABASE)) as copied,
        ):
            database.backup(copied)
    leave = shutil.ignore_patterns(_LOG, f"{_DATABASE}*", ".tmp-*", "LOCK")
    shutil.copytree(source, target, ignore=leave, dirs_exist_ok=True)


def _describe(root: Path) -> Iterator[SavedFile]:
    for path in _files_below(root):
        yield SavedFile(path.relative_to(root).as_posix(), path.stat().st_size, _sha256(path))


def _files_below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _read(backup: Path) -> Inventory:
    path = backup / INVENTORY
    if not path.is_file():
        raise Refused(f"{backup} is no backup (no {INVENTORY} there)")
    try:
        data = json.loads(path.read_bytes())
        found = data["schema_version"]
        if found == SCHEMA_VERSION:
            files = [SavedFile(**file) for file in data["files"]]
            return Inventory(data["made_at"], [Part(**part) for part in data["parts"]], files)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} cannot be read ({error!r}); use another backup") from error
    raise Refused(
        f"{path} has schema version {found!r}, this script reads {SCHEMA_VERSION}; use the script that wrote it"
    )


def _refuse_occupied(target: Path) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise Refused(f"{target} is there and would be overwritten; move it away first")


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{target.name}")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Back up and restore collections, registry and settings.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("create", help="write a new backup")
    making.add_argument("--collections", type=Path, help="the directory above the collections")
    making.add_argument("--registry", type=Path, help="the directory of an embedded registry, or of a server's logs")
    making.add_argument("--file", type=Path, action="append", default=[], help="settings, public keys, a bundle")
    for command in (
        making,
        commands.add_parser("verify", help="check every file of a backup"),
        commands.add_parser("restore", help="put everything back where it was"),
    ):
        command.add_argument("backup", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "create":
            found = create(
                options.backup, collections=options.collections, registry=options.registry, files=options.file
            )
        else:
            found = {"verify": verify, "restore": restore}[options.command](options.backup)
    except (Refused, OSError, shutil.Error) as error:
        sys.stderr.write(f"error: {error}\n")
        return _REFUSED
    done = {"create": "written", "verify": "intact", "restore": "restored"}[options.command]
    sys.stdout.write(
        f"{options.backup} of {found.made_at}: {done}, {len(found.files)} files, {found.size_bytes:,} bytes\n"
    )
    for part in found.parts:
        sys.stdout.write(f"  {part.path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
