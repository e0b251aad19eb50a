"""`infembed serve` as its user meets it: refusals in one sentence, and a real process that stops when told to."""

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

from index.build import build_collection
from infembed.cli import UNUSABLE, main
from infembed.encoder import OnnxEncoder
from infembed.onnx_runtime import ort
from tests.service.processes import post, serving
from tests.tiny import make_tiny_bundle


def _refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """Run `infembed serve`, which must refuse; returns the one line it prints."""
    monkeypatch.setattr(sys, "argv", ["infembed", "serve", "--port", "0", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == UNUSABLE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def _collection(directory: Path, bundle: Path) -> Path:
    passages = directory / "passages.jsonl"
    passages.write_text("".join(json.dumps({"id": str(n), "text": f"bread {n}"}) + "\n" for n in range(3)))
    path = directory / "collections" / "bread"
    build_collection(passages, path, encoder=OnnxEncoder.open(bundle, n_threads=1), bundle_name="tiny")
    return path.parent


def test_a_missing_bundle_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = _refusal(capsys, monkeypatch, "--bundle", tmp_path / "none")
    assert str(tmp_path / "none") in message
    assert "make bundle" in message


def test_a_precision_the_bundle_lacks_is_refused(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFEMBED_PRECISION", "fp16")
    assert "has precision fp32, int8, not fp16; choose one it has" in _refusal(
        capsys, monkeypatch, "--bundle", tiny_bundle
    )


def test_a_bundle_with_an_altered_file_is_refused(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    tokenizer = bundle / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    message = _refusal(capsys, monkeypatch, "--bundle", bundle)
    assert "tokenizer.json" in message


def test_a_bundle_without_one_of_its_files_is_refused(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (bundle / "fp32" / "query.onnx").unlink()
    message = _refusal(capsys, monkeypatch, "--bundle", bundle)
    assert "query.onnx" in message


def test_an_index_of_another_model_is_refused(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collections = _collection(tmp_path, make_tiny_bundle(tmp_path / "other", seed=1))
    message = _refusal(capsys, monkeypatch, "--bundle", tiny_bundle, "--collections", collections)
    assert "another model" in message
    assert "bread" in message


def test_a_gpu_without_onnxruntime_for_it_is_refused_instead_of_served_from_the_processor(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    message = _refusal(capsys, monkeypatch, "--bundle", tiny_bundle, "--provider", "cuda")
    assert "CUDAExecutionProvider" in message
    assert "install onnxruntime-gpu" in message


def test_a_port_in_use_is_refused(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = _refusal(capsys, monkeypatch, "--bundle", tiny_bundle, "--port", str(port))
    assert f"port {port} on 127.0.0.1 is in use" in message


def test_an_impossible_setting_is_refused(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFEMBED_MAX_BATCH_TOKENS", "many")
    assert "INFEMBED_MAX_BATCH_TOKENS" in _refusal(capsys, monkeypatch, "--bundle", tiny_bundle)


def test_a_collections_directory_that_is_not_there_is_refused_when_it_was_asked_for(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = _refusal(capsys, monkeypatch, "--bundle", tiny_bundle, "--collections", tmp_path / "none")
    assert str(tmp_path / "none") in message


@pytest.mark.slow
def test_a_running_service_answers_and_ends_cleanly_on_sigterm(tmp_path: Path, tiny_bundle: Path) -> None:
    collections = _collection(tmp_path, tiny_bundle)
    with serving("--bundle", tiny_bundle, "--collections", collections) as service:
        found = post(f"{service.url}/search", {"query": "bread 1"})
        assert json.loads(found.body)["results"][0]["id"] == "1"
        service.end()
