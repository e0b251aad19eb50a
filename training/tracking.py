"""Runs in MLflow: parameters, loss, gradient norm and dev scores; an SQLite file unless a server is named."""

import math
from typing import Any, NamedTuple

from transformers.trainer_callback import TrainerCallback

from training.config import TrainConfig

EXPERIMENT = "inf-embed-training"


class Tracking(NamedTuple):
    """Where runs are tracked."""

    uri: str


class MlflowTracking(TrainerCallback):  # type: ignore[misc]
    """Logs one run; a run that goes on after an interruption goes on in the same MLflow run."""

    def __init__(self, tracking: Tracking, config: TrainConfig) -> None:
        from evaluation.registry.mlflow_library import MlflowClient

        self._client = MlflowClient(tracking_uri=tracking.uri)
        self._config = config
        self._run_id: str | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        known = self._client.search_runs(
            [experiment_id], f"attributes.run_name = '{self._config.name}' and attributes.status = 'RUNNING'"
        )
        if known and state.global_step:
            self._run_id = known[0].info.run_id
            return
        self._run_id = self._client.create_run(experiment_id, run_name=self._config.name).info.run_id
        for name, value in _flat(self._config.model_dump(mode="json")).items():
            self._client.log_param(self._run_id, name, value)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        for name, value in (logs or {}).items():
            if self._run_id and isinstance(value, int | float) and math.isfinite(value):
                self._client.log_metric(self._run_id, name, value, step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._run_id:
            self._client.set_terminated(self._run_id)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = str(value)[:500]
    return found
