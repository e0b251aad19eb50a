"""Small synthesis runs for tests."""

import json
import socket
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.synthesis.config import SynthesisConfig
from training.synthesis.pairs import Tasks, read_tasks
from training.synthesis.prompts import load_prompts
from training.synthesis.questions import Questions

PASSAGE = "Most knocks come from a pipe that grows as it warms and catches on a joist under the floor."


def write_pairs(path: Path, n: int) -> Path:
    lines = [json.dumps({"query": f"radiator noise {number}", "passage": f"{PASSAGE} {number}"}) for number in range(n)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def settings(directory: Path, url: str, *, n_pairs: int = 4, **changes: Any) -> dict[str, Any]:
    """Return settings for a run in `directory`; `changes` replace whole keys, `generator` and `judge` are merged."""
    pairs = directory / "pairs.jsonl"
    if not pairs.exists():
        write_pairs(pairs, n_pairs)
    model = {"base_url": url, "price": {"prompt": 1.0, "completion": 4.0}, "max_tokens": 300, "timeout_s": 60.0}
    model["seed"] = 0
    return {
        "name": "synthetic",
        "license": "Apache-2.0",
        "pairs": str(pairs),
        "out": str(directory / "corpus"),
        "answers": str(directory / "answers.sqlite"),
        "concurrency": 4,
        "n_examples": 1,
        "retries": {"first_wait_s": 0.01, "longest_wait_s": 0.02},
        **changes,
        "generator": {**model, "model": "writer", **changes.get("generator", {})},
        "judge": {**model, "model": "judge", **changes.get("judge", {})},
    }


def make_questions(directory: Path, url: str = "http://127.0.0.1:1/v1", **changes: Any) -> Questions:
    return Questions(SynthesisConfig.model_validate(settings(directory, url, **changes)), load_prompts())


def tasks_of(questions: Questions) -> Tasks:
    config = questions.config
    return read_tasks(config.pairs, types=config.instruction_types, seed=config.seed)


def write_toml(path: Path, values: dict[str, Any]) -> Path:
    path.write_text("".join(_lines(values, ())), encoding="utf-8")
    return path


def _lines(values: dict[str, Any], above: Sequence[str]) -> Iterable[str]:
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    if above:
        yield f"[{'.'.join(above)}]\n"
    yield from (f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _lines(value, (*above, key))


def stored_bodies(path: Path) -> set[str]:
    """Read the answers of a file, whether or not a run is using it."""
    if not path.exists():
        return set()
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {body for (body,) in connection.execute("SELECT body FROM answers")}
    except sqlite3.OperationalError:  # the table is not there yet
        return set()
    finally:
        connection.close()


def files_of(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(corpus.iterdir())}


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
