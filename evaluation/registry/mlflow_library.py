"""MLflow, imported in this one place.

It reports usage to its makers unless the environment says no before it is loaded: a registry must not call home, so it
says no here, whatever the environment said. It also configures logging and draws bars of its own; ours are enough.
An unreachable server is retried for seconds, not for MLflow's minutes, unless the operator set that otherwise.
"""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from pathlib import Path

from infembed.errors import BadConfigError

try:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException
except ModuleNotFoundError as error:
    raise BadConfigError(
        f"the registry needs MLflow ({error.name} is not installed); "
        "install it with `pip install 'inf-embed[registry]'`"
    ) from error

__all__ = ["MIGRATIONS", "Metric", "MlflowClient", "MlflowException"]

MIGRATIONS = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
"""One file for each schema of its database, named after the schema and what it changes."""
