"""Imports go one way, and heavy libraries stay where they work (STYLE: the tree tells the story)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "infembed": set(),
    "index": {"infembed"},
    "service": {"infembed", "index"},
    "evaluation": {"infembed"},
    "training": {"infembed", "evaluation"},
    "model_export": {"infembed", "evaluation", "training"},
}
AT_HOME = {
    "torch": {"training", "model_export", "evaluation"},
    "transformers": {"training", "model_export"},
    "faiss": {"index"},
    "fastapi": {"service"},
    "onnx": {"model_export"},
}
LOADED_WHEN_RUN = {
    *("torch", "transformers", "sentence_transformers", "mteb", "datasets", "scipy", "pytrec_eval", "matplotlib"),
    *(
        "jinja2",
        "mlflow",
        "sqlalchemy",
        "model_signing",
        "httpx2",
        "faiss",
        "onnxruntime",
        "onnx",
        "fastapi",
        "uvicorn",
    ),
    *("pyarrow", "openai"),
}
TORCH_FREE = {"infembed", "index", "service"}


def _modules() -> list[Path]:
    return sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in _imported(path):
        if name in MAY_IMPORT and name != package:
            assert name in MAY_IMPORT[package], f"{package} must not import {name}"
        if name in AT_HOME:
            assert package in AT_HOME[name], f"{name} does not belong in {package}"
        assert not (name in {"torch", "transformers"} and package in TORCH_FREE)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_imports_the_tests(path: Path) -> None:
    assert "tests" not in set(_imported(path))


def test_onnx_runtime_is_imported_in_one_place_that_turns_its_telemetry_off() -> None:
    importers = [path.name for path in _modules() if "onnxruntime" in set(_imported(path))]
    assert importers == ["onnx_runtime.py"]
    source = (ROOT / "infembed" / "onnx_runtime.py").read_text(encoding="utf-8")
    assert source.index("ORT_DISABLE_TELEMETRY") < source.index("import onnxruntime")


def test_what_serves_makes_no_http_requests_but_the_client_does() -> None:
    importers = [path for path in _modules() if "httpx2" in set(_imported(path))]
    serving = [path.relative_to(ROOT).as_posix() for path in importers if path.relative_to(ROOT).parts[0] in TORCH_FREE]
    assert serving == ["infembed/client/http.py"]


def test_the_command_line_loads_without_any_stage_installed() -> None:
    """`infembed --help` must work in every environment, so command modules import heavy libraries only when run."""
    program = f"""
import sys
blocked = {sorted(LOADED_WHEN_RUN)!r}
sys.modules.update(dict.fromkeys(blocked))
from infembed.cli import make_app
make_app()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
