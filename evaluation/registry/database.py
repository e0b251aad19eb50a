"""The database of an embedded registry: made whole or not at all, and read by MLflow of one schema only."""

import shlex
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from evaluation.registry.decision_log import exclusive
from evaluation.registry.location import Location
from evaluation.registry.mlflow_library import MIGRATIONS, MlflowClient
from infembed.artefacts import remove_leftovers
from infembed.errors import BadArtefactError, NewerArtefactError


def create_database(location: Location) -> None:
    """Make the database of a new registry."""
    with exclusive(location.directory):
        if location.database.is_file():
            return
        remove_leftovers(location.directory)
        temporary = location.directory / f".tmp-{location.database.name}"
        uri = f"sqlite:///{temporary}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        temporary.rename(location.database)


def other_schema(location: Location) -> BadArtefactError:
    """Word MLflow's refusal of a database of another schema, which it calls out-of-date even where it is newer."""
    ours = version("mlflow-skinny")
    found = _revision(location.database)
    if found in _known_revisions():
        return BadArtefactError(
            f"{location.database} was written by an older MLflow (schema {found}) than the installed {ours}; back it "
            f"up (deploy/backup.py), then run `mlflow db upgrade {shlex.quote(location.uri)}`"
        )
    return NewerArtefactError(
        f"{location.database} was written by a newer MLflow (schema {found}) than the installed {ours}; use "
        "the InF-Embed that upgraded it, or newer, or restore the registry from a backup made before"
    )


def _revision(database: Path) -> str:
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        ((found,),) = connection.execute("SELECT version_num FROM alembic_version")
        return str(found)


def _known_revisions() -> set[str]:
    """Return the schemas that the installed MLflow can upgrade from, by the names of its migrations."""
    return {path.name.split("_")[0] for path in MIGRATIONS.glob("*_*.py")}
