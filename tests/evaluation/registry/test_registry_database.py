"""A registry's database of another MLflow: upgraded by one command, or left alone."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from evaluation.registry.location import Location
from evaluation.registry.mlflow_library import MIGRATIONS
from evaluation.registry.store import Store
from infembed.errors import BadArtefactError, NewerArtefactError


def _revision(database: Path, new: str | None = None) -> str:
    with closing(sqlite3.connect(database)) as connection, connection:
        ((found,),) = connection.execute("SELECT version_num FROM alembic_version")
        if new is not None:
            connection.execute("UPDATE alembic_version SET version_num = ?", (new,))
        return str(found)


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> Path:
    """A registry's database that this process has not opened yet."""
    (tmp_path / "registry").mkdir()
    return Path(shutil.copy(empty_database, tmp_path / "registry"))


def test_a_database_of_an_older_mlflow_names_the_command_that_upgrades_it(database: Path) -> None:
    older = next(path.name.split("_")[0] for path in MIGRATIONS.glob("*_*.py") if _revision(database) not in path.name)
    _revision(database, older)
    with pytest.raises(
        BadArtefactError, match=rf"older MLflow \(schema {older}\).*`mlflow db upgrade sqlite:///{database}`"
    ):
        Store.open(Location.parse(str(database.parent)))
    assert _revision(database) == older


def test_a_database_of_a_newer_mlflow_is_left_alone(database: Path) -> None:
    _revision(database, "f00dfeed0042")
    with pytest.raises(NewerArtefactError, match=r"newer MLflow \(schema f00dfeed0042\).*restore the registry"):
        Store.open(Location.parse(str(database.parent)))
    assert _revision(database) == "f00dfeed0042"
