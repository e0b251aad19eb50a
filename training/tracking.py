"""Runs in MLflow: parameters, loss, gradient norm and dev scores; an SQLite file unless a server is named."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from transformers.trainer_callback import TrainerCallback

from infembed.artefacts import write_atomically
from infembed.config import Config
from infembed.errors import BadConfigError, UnfinishedError
from training.config import TrainConfig
from training.run_directory import TRACKING_FILE

EXPERIMENT = "inf-embed-training"


class Tracking(NamedTuple):
    """Where runs are tracked."""

    uri: str


class MlflowTracking(TrainerCallback):  # type: ignore[misc]
    """Logs one run; a run that goes on after an interruption goes on in the same MLflow run.

    Points behind the checkpoint it goes on from are logged again, with the same values.
    """

    def __init__(self, tracking: Tracking, config: TrainConfig, out: Path) -> None:
        from evaluation.registry.mlflow_library import MlflowClient

        self._uri = tracking.uri
        self._config = config
        self._file = out / TRACKING_FILE
        self._run_id: str | None = None
        try:
            self._client = MlflowClient(tracking_uri=tracking.uri)
            self._client.search_experiments(max_results=1)
        except Exception as error:  # MLflow, its servers and its databases share no base but Exception
            raise BadConfigError(
                f"runs cannot be tracked at {tracking.uri}: {_in_one_line(error)}; start the server, or give another "
                "--tracking"
            ) from error

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        with self._talking():
            self._run_id = self._known() or self._begin()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not self._run_id:
            return
        with self._talking():
            for name, value in points(logs).items():
                if math.isfinite(value):
                    self._client.log_metric(self._run_id, name, value, step=state.global_step)

    def close(self, status: str) -> None:
        """Say how the run ended: FINISHED or FAILED."""
        if run_id := self._run_id or self._known():  # known: only the model was left to write
            with self._talking():
                self._client.set_terminated(run_id, status=status)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # as above
            raise UnfinishedError(
                f"MLflow at {self._uri} failed: {_in_one_line(error)}; once it works again the same command goes on"
            ) from error

    def _known(self) -> str | None:
        """Return the run this directory began on this server."""
        if not self._file.is_file():
            return None
        begun = json.loads(self._file.read_text(encoding="utf-8"))
        return begun["run_id"] if begun["uri"] == self._uri else None

    def _begin(self) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        run_id: str = self._client.create_run(experiment_id, run_name=self._config.name).info.run_id
        for name, value in _flat(self._config).items():
            self._client.log_param(run_id, name, value)
        write_atomically(self._file, json.dumps({"uri": self._uri, "run_id": run_id}).encode())
        return run_id


def points(logs: dict[str, float] | None) -> dict[str, float]:
    """Keep of what the trainer logs what belongs to a step: not its summary of this process, nor its epochs."""
    return {n: v for n, v in (logs or {}).items() if n != "epoch" and not n.startswith(("train_", "total_"))}


def _flat(config: Config, prefix: str = "") -> dict[str, str]:
    """Name every value by its path; names in tables of the user's own, such as shares, may be none of MLflow's."""
    found: dict[str, str] = {}
    dumped = config.model_dump(mode="json")
    for name, value in config:
        if isinstance(value, Config):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = str(dumped[name])[:500]
    return found


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
