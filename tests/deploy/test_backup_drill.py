"""The drill with a tiny model: a deployment that was destroyed answers as before."""

import json
from pathlib import Path

import pytest

from deploy.backup_drill import drill


@pytest.mark.slow
def test_a_destroyed_deployment_answers_as_before(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passages = tmp_path / "passages.jsonl"
    texts = ["bread dough", "bread oven", "bike chain", "bike tyre", "road brake", "yeast and flour"]
    passages.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    (tmp_path / "site").mkdir()
    assert drill(tiny_bundle, passages, tmp_path / "site")
    said = capsys.readouterr().out
    for words in ("the writer published", "restored,", "is intact", "the same answers"):
        assert words in said
