"""Real services for a canary to ask: tiny bundles, small collections, processes of their own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from index.build import build_collection
from infembed.encoder import OnnxEncoder
from tests.tiny import WORDS

PAIRS = list(combinations(WORDS, 2))


class Running(NamedTuple):
    """A started service."""

    process: "subprocess.Popen[str]"
    url: str


def build_words(directory: Path, bundle: Path, *, n: int = 60) -> Path:
    """Build the collection `words` of short documents; returns the directory of collections."""
    directory.mkdir(parents=True)
    passages = directory / "passages.jsonl"
    rows = ({"id": f"d{number}", "text": " ".join(PAIRS[number * 7])} for number in range(n))
    passages.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    collection = directory / "collections" / "words"
    build_collection(passages, collection, encoder=OnnxEncoder.open(bundle, n_threads=1), bundle_name="tiny")
    return collection.parent


def write_queries(path: Path, *, n_shadows: int = 30, n_probes: int = 10) -> Path:
    """Write shadow queries, half of them with an instruction, and probe pairs."""
    rows: list[dict[str, object]] = [
        {"query": " ".join(PAIRS[number * 11 + 3]), "instruction": "for a child" if number % 2 else None}
        for number in range(n_shadows)
    ]
    rows += [
        {
            "query": WORDS[number],
            "original_instruction": "for an expert",
            "changed_instruction": "not for an expert",
            "withdrawn": [f"d{number}", f"d{number + 20}"],
        }
        for number in range(n_probes)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@contextmanager
def serving(bundle: Path, collections: Path) -> Iterator[Running]:
    """Start `infembed serve` and give it once it says that it is ready."""
    command = [str(Path(sys.executable).with_name("infembed")), "serve", "--port", "0", "--threads", "1"]
    command += ["--bundle", str(bundle), "--collections", str(collections)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            ready = next(found for line in process.stdout if (found := re.search(r"ready on (http://\S+)", line)))
            yield Running(process, ready[1])
        finally:
            process.kill()
