"""The service beside its peers: Infinity (torch and optimum engines) and FastAPI around sentence-transformers.

    python -m benchmarks.peers --bundle .cache/bundle                                  # installs peers when first run
    python -m benchmarks.peers --bundle .cache/bundle --part short --part batches --rounds 3
    python -m benchmarks.peers --bundle .cache/bundle --part search --collections .cache/collections

Same machine, same weights, same requests, same client (benchmarks/load.py), servers in turns (benchmarks/paired.py):
all are started once and each is stopped (SIGSTOP) between its turns. Vectors are compared before anything is measured.
The bundle must have int8. What instructions cost is measured by benchmarks/instruction_cache.py.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.paired import Case, Key, Measure, Target, run_rounds, table, target_table
from benchmarks.peer_servers import (
    INFINITY_BETTER,
    Program,
    Running,
    infinity_optimum,
    infinity_torch,
    plain,
    service,
    started,
)
from benchmarks.service_latency import largest
from benchmarks.workloads import BareModel, Workload, batch_requests, short_texts, single_requests, text_batches
from benchmarks.wrk import write_bodies
from infembed.bundle import Precision
from infembed.vectors import FloatArray, normalize

FP32, INT8 = "InF-Embed fp32", "InF-Embed int8"
BARE_FP32, BARE_INT8 = "bare session fp32", "bare session int8"
INFINITY_TORCH, BETTER_TORCH = "Infinity torch", "Infinity torch, BetterTransformer"
INFINITY_OPTIMUM, PLAIN = "Infinity optimum", "FastAPI + sentence-transformers"
SEARCH, EMBED = "/search", "/embed"
SAME_VECTORS = 0.999
ROUNDED_VECTORS = 0.98
"""Least cosine of int8's vectors; whatever else serves these weights gives the same ones."""
DEMO = Path(__file__).parents[1] / "examples" / "demo" / "passages.jsonl"


class Part(StrEnum):
    """What can be measured by itself."""

    SHORT = "short"
    BATCHES = "batches"
    ONE_CLIENT = "one-client"
    SEARCH = "search"


TARGETS = (
    Target(Part.SHORT, FP32, INFINITY_TORCH, Measure.RATE, 2.5),
    Target(Part.SHORT, FP32, BETTER_TORCH, Measure.RATE, 2.5),
    Target(Part.SHORT, FP32, INFINITY_OPTIMUM, Measure.RATE, 1.3),
    Target(Part.SHORT, INT8, INFINITY_TORCH, Measure.RATE, 5.0),
    Target(Part.SHORT, INT8, BETTER_TORCH, Measure.RATE, 5.0),
    Target(Part.BATCHES, FP32, INFINITY_TORCH, Measure.RATE, 1.2),
    Target(Part.BATCHES, FP32, BETTER_TORCH, Measure.RATE, 1.2),
    Target(Part.BATCHES, INT8, INFINITY_TORCH, Measure.RATE, 2.5),
    Target(Part.BATCHES, INT8, BETTER_TORCH, Measure.RATE, 2.5),
    Target(Part.BATCHES, FP32, BARE_FP32, Measure.RATE, 0.9),
    Target(Part.BATCHES, INT8, BARE_INT8, Measure.RATE, 0.9),
    Target(Part.ONE_CLIENT, FP32, BARE_FP32, Measure.EXTRA, 1.5),
    Target(Part.ONE_CLIENT, INT8, BARE_INT8, Measure.EXTRA, 1.5),
    Target(Part.SEARCH, SEARCH, EMBED, Measure.EXTRA, 3.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--environments", type=Path, default=Path(".cache/peers"), help="where peers are installed")
    parser.add_argument("--part", type=Part, choices=list(Part), action="append", help="default: all; may be repeated")
    parser.add_argument("--without", action="append", default=[], help="leave a server out, by name; may be repeated")
    parser.add_argument("--collections", type=Path, help="directory of collections to search; default: the demo index")
    parser.add_argument("--collection", help="which one of them; default: the largest")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one case in one round; batches get 1.5 times it")
    parser.add_argument("--json", type=Path, help="also write every load here")
    arguments = parser.parse_args()
    parts = frozenset(arguments.part or Part)
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, parts, Path(scratch))


def measure(arguments: argparse.Namespace, parts: frozenset[Part], scratch: Path) -> None:
    """Start what the parts need, check it, measure it, print it."""
    searched = None
    if Part.SEARCH in parts:
        searched = arguments.collections or demo_index(arguments.bundle, scratch)
    programs = choose_programs(arguments, parts, searched)
    with started(programs, arguments.environments / "logs") as running:
        models = {FP32: BareModel(arguments.bundle, Precision.FP32)}
        servers = same_vectors(running, models[FP32])
        if INT8 in servers:
            models[INT8] = BareModel(arguments.bundle, Precision.INT8)
        cases = list(all_cases(servers, models, parts, scratch, seconds=arguments.seconds))
        if searched is not None:
            name = arguments.collection or largest(searched).name
            print(f"search over the collection {name}")
            cases += search_cases(servers[FP32], scratch, collection=name, seconds=arguments.seconds)
        rounds = run_rounds(cases, arguments.rounds)
        memory = ", ".join(f"{name} {server.memory.total:.0f}" for name, server in servers.items())
    print(f"\n{table(rounds)}\n\n{target_table(TARGETS, rounds)}\n\nMB resident at the end: {memory}")
    if arguments.json:
        found = [{str(key): load._asdict() for key, load in one.items()} for one in rounds]
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def choose_programs(
    arguments: argparse.Namespace, parts: frozenset[Part], collections: Path | None
) -> list[Program]:  # fmt: skip
    """Return the servers that the parts need, installing what is missing; those left out by name are not."""
    root = arguments.environments.resolve()
    makers: dict[str, Callable[[], Program]] = {
        FP32: partial(service, FP32, arguments.bundle, precision=Precision.FP32, collections=collections)
    }
    if parts != {Part.SEARCH}:
        makers[INT8] = partial(service, INT8, arguments.bundle, precision=Precision.INT8)
    if not parts.isdisjoint({Part.SHORT, Part.BATCHES}):
        makers[INFINITY_TORCH] = partial(infinity_torch, INFINITY_TORCH, root)
        makers[BETTER_TORCH] = partial(infinity_torch, BETTER_TORCH, root, environment=INFINITY_BETTER)
        makers[INFINITY_OPTIMUM] = partial(infinity_optimum, INFINITY_OPTIMUM, root)
        makers[PLAIN] = partial(plain, PLAIN, root)
    if unknown := set(arguments.without) - (makers.keys() - {FP32}):
        raise SystemExit(f"--without {', '.join(unknown)}: can be left out: {', '.join(list(makers)[1:])}")
    return [make() for name, make in makers.items() if name not in arguments.without]


def demo_index(bundle: Path, scratch: Path) -> Path:
    """Build the small index of the quick start."""
    command = [Path(sys.executable).with_name("infembed"), "index", "build", "--bundle", bundle]
    command += ["--passages", DEMO, "--out", scratch / "collections" / "demo"]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return scratch / "collections"


def same_vectors(servers: Mapping[str, Running], model: BareModel) -> dict[str, Running]:
    """Print the least cosine of each server's vectors with the model's own, and keep those that do the same work."""
    texts = [*short_texts()[:32], *text_batches()[0]]
    wanted = model.vectors(texts)
    kept = {}
    for name, server in servers.items():
        with server.awake():
            least = least_cosine(_embed(server.url, texts), wanted)
        is_same = least > (ROUNDED_VECTORS if name == INT8 else SAME_VECTORS)
        print(f"least cosine of {len(texts)} vectors: {least:.6f}, {name}{'' if is_same else ': LEFT OUT'}", flush=True)
        if is_same:
            kept[name] = server
    return kept


def least_cosine(found: FloatArray, wanted: FloatArray) -> float:
    """Compare vectors row by row."""
    return float((normalize(found) * normalize(wanted)).sum(axis=1).min())


def _embed(url: str, texts: Sequence[str]) -> FloatArray:
    body = json.dumps({"model": "model", "input": texts}).encode()
    request = urllib.request.Request(f"{url}/embeddings", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        data = sorted(json.load(response)["data"], key=lambda one: one["index"])
    return np.array([one["embedding"] for one in data], dtype=np.float32)


def all_cases(
    servers: Mapping[str, Running],
    models: Mapping[str, BareModel],
    parts: frozenset[Part],
    scratch: Path,
    *,
    seconds: float,
) -> Iterator[Case]:
    """Yield what is measured on texts alone, a workload after the other."""
    bare = {FP32: BARE_FP32, INT8: BARE_INT8}
    if Part.SHORT in parts:
        short = single_requests(scratch, connections=16)
        for name, server in servers.items():
            yield Case(Key(Part.SHORT, name), partial(short.put_on, server, seconds=seconds))
    if Part.BATCHES in parts:
        batches = batch_requests(scratch, connections=4)
        for name, server in servers.items():
            yield Case(Key(Part.BATCHES, name), partial(batches.put_on, server, seconds=1.5 * seconds))
        for name, model in models.items():
            yield Case(Key(Part.BATCHES, bare[name]), partial(model.sorted_batches, 1.5 * seconds))
    if Part.ONE_CLIENT in parts:
        alone = single_requests(scratch, connections=1)
        for name, model in models.items():
            yield Case(Key(Part.ONE_CLIENT, name), partial(alone.put_on, servers[name], seconds=seconds))
            yield Case(Key(Part.ONE_CLIENT, bare[name]), partial(model.one_by_one, seconds))


def search_cases(server: Running, scratch: Path, *, collection: str, seconds: float) -> Iterator[Case]:
    """Yield a query's vector, and the same query's search."""
    embed = [{"inputs": text, "input_type": "query"} for text in short_texts()]
    search = [{"query": text, "collection": collection} for text in short_texts()]
    for path, bodies in ((EMBED, embed), (SEARCH, search)):
        workload = Workload(write_bodies(scratch / f"{path[1:]}.jsonl", bodies), path, connections=1)
        yield Case(Key(Part.SEARCH, path), partial(workload.put_on, server, seconds=seconds))


if __name__ == "__main__":
    main()
