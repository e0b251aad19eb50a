"""MLflow must not call home, whatever the environment said before."""

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
_CODE = """
import socket
def refuse(*_):
    raise AssertionError("a connection to the outside")
socket.socket.connect = refuse
from evaluation.registry.mlflow_library import MlflowClient
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
assert get_telemetry_client() is None
"""


def test_telemetry_is_off_even_where_the_environment_says_on() -> None:
    testing = {"CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS"}  # MLflow is silent by itself where it sees these
    environment = {name: value for name, value in os.environ.items() if name not in testing}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "false", "DO_NOT_TRACK": "false", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", _CODE], check=True, env=environment, cwd=ROOT)


def test_mlflow_is_imported_in_one_place_that_turns_its_telemetry_off_first() -> None:
    importers = []
    for package in ("infembed", "index", "service", "evaluation", "training", "model_export"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
            if any(name.split(".")[0] == "mlflow" for name in names):
                importers.append(path.name)
    assert importers == ["mlflow_library.py"]
    source = (ROOT / "evaluation" / "registry" / "mlflow_library.py").read_text(encoding="utf-8")
    assert source.index("MLFLOW_DISABLE_TELEMETRY") < source.index("from mlflow")
