"""Resident memory of an encoder's sessions, each layout in a process of its own, and what a layout costs in time.

    python -m benchmarks.memory --bundle .cache/bundle
    python -m benchmarks.memory --bundle .cache/bundle --speed

Memory is Rss of /proc/self/smaps_rollup (Pss would count a bundle that other processes map by halves), and of it what
is private: the rest are clean pages of files, which the kernel takes back when short and processes share. Time is
processor time of one thread, layouts in turn, as the median of the ratios within a turn: other work hits all alike.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infembed.bundle import Bundle, GraphName, Precision
from infembed.encoder import OnnxEncoder
from infembed.execution import Footprint
from infembed.graphs import Graph, PlainGraph
from infembed.inputs import InputType
from infembed.loading import LoadedGraphs
from infembed.sessions import open_session, session_options
from infembed.tokenization import BundleTokenizer, TokenizedInput
from infembed.vectors import IntArray
from infembed.weightfile import map_weights

SHAPES = ((1, 16), (8, 32), (32, 128))
TURNS = {(1, 16): 40, (8, 32): 8, (32, 128): 4}
INSTRUCTION_TOKENS = 16
SEED = 20261128
Feeds = dict[str, npt.NDArray[Any]]
Run = Callable[[int, int], None]
Load = Callable[[Bundle], Run]


class Layout(NamedTuple):
    """Which graphs are loaded, and how."""

    graphs: tuple[GraphName, ...]
    unpacked: tuple[GraphName, ...] = ()
    releases: bool = True
    patterns: bool = False
    run_tokens: int = 1024

    def open(self, bundle: Bundle) -> LoadedGraphs:
        weights = map_weights(bundle.path / Precision.FP32)
        graphs: dict[GraphName, Graph] = {}
        for name in self.graphs:
            options = session_options(1, initializers=weights.initializers, packs_matrices=name not in self.unpacked)
            options.enable_mem_pattern = self.patterns
            graphs[name] = PlainGraph(open_session(bundle.graph_path(name, Precision.FP32), options), weights=weights)
        if self.releases:
            weights.release()
        return LoadedGraphs(graphs, weights)

    def load(self, bundle: Bundle) -> Run:
        """Return what runs each graph on the same tokens, so that all layouts touch the same embeddings."""
        graphs = self.open(bundle)

        def run(rows: int, tokens: int) -> None:
            step = max(1, self.run_tokens // tokens)
            batch, instruction = _tokens(rows, tokens), _tokens(1, INSTRUCTION_TOKENS)
            for name, graph in graphs.graphs.items():
                after: Feeds = {}
                if name is INSTRUCTION:
                    graph.run(instruction)
                    continue
                if name is QUERY:
                    (state,) = graphs.instruction.run(instruction)
                    after = graphs.after([state]) | {"instruction_index": np.zeros(min(step, rows), dtype=np.int64)}
                for first in range(0, rows, step):
                    graph.run({name: part[first : first + step] for name, part in batch.items()} | after)

        return run


def shipped(footprint: Footprint) -> Load:
    """Make the encoder as others use it, which also splits a batch into runs."""

    def load(bundle: Bundle) -> Run:
        encoder = OnnxEncoder(bundle, footprint=footprint)

        def run(rows: int, tokens: int) -> None:
            texts = [tuple(row) for row in _tokens(rows, tokens)["input_ids"].tolist()]
            (instruction,) = [tuple(row) for row in _tokens(1, INSTRUCTION_TOKENS)["input_ids"].tolist()]
            encoder.encode([TokenizedInput(InputType.DOCUMENT, ids) for ids in texts])
            encoder.encode([TokenizedInput(InputType.QUERY, ids, instruction) for ids in texts])

        return run

    return load


DOCUMENT, QUERY, INSTRUCTION = GraphName.DOCUMENT, GraphName.QUERY, GraphName.INSTRUCTION
LAYOUTS: dict[str, Load] = {
    "document graph alone": Layout((DOCUMENT,)).load,
    "document graph alone, whole batch in one run": Layout((DOCUMENT,), run_tokens=4096).load,
    "document graph alone, mapping kept": Layout((DOCUMENT,), releases=False).load,
    "all graphs, as in 0.1 drafts": Layout(
        (DOCUMENT, QUERY, INSTRUCTION), releases=False, patterns=True, run_tokens=4096
    ).load,
    "all graphs, instruction unpacked": Layout((DOCUMENT, QUERY, INSTRUCTION), unpacked=(INSTRUCTION,)).load,
    "all graphs, nothing packed": Layout(tuple(GraphName), unpacked=tuple(GraphName)).load,
    "encoder, footprint fast": shipped(Footprint.FAST),
    "encoder, footprint small": shipped(Footprint.SMALL),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--speed", action="store_true", help="compare processor time instead of memory")
    parser.add_argument("--layout", choices=list(LAYOUTS), help="measure this one here and print JSON")
    arguments = parser.parse_args()
    if arguments.layout:
        print(json.dumps(measure(Bundle.open(arguments.bundle), LAYOUTS[arguments.layout])))
    elif arguments.speed:
        compare_speed(Bundle.open(arguments.bundle))
    else:
        compare_memory(arguments.bundle)


class Resident(NamedTuple):
    """Megabytes of a process: all of them, and those that no file backs."""

    total: float
    private: float


def compare_memory(bundle: Path) -> None:
    print("| MB resident, private (ratios to the document graph alone) | loaded | 1 x 16 tokens ran | 32 x 128 ran |")
    print("|---|---:|---:|---:|")
    alone: dict[str, Resident] = {}
    for name in LAYOUTS:
        points = _in_new_process(bundle, name)
        alone = alone or points
        cells = [_cell(found, alone[point]) for point, found in points.items() if point != "idle"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nBefore any graph is loaded: {alone['idle'].total:.0f}, {alone['idle'].private:.0f}.")


def _cell(found: Resident, alone: Resident) -> str:
    ratios = f"{found.total / alone.total:.2f}, {found.private / alone.private:.2f}"
    return f"{found.total:.0f}, {found.private:.0f} ({ratios})"


def _in_new_process(bundle: Path, layout: str) -> dict[str, Resident]:
    command = [sys.executable, __file__, "--bundle", bundle, "--layout", layout]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return {point: Resident(*found) for point, found in json.loads(done.stdout).items()}


def measure(bundle: Bundle, load: Load) -> dict[str, Resident]:
    """Return what is resident at four points of a process's life."""
    tokenizer = BundleTokenizer.open(bundle)
    points = {"idle": resident()}
    run = load(bundle)
    points["loaded"] = resident()
    for rows, tokens in (SHAPES[0], SHAPES[-1], SHAPES[-1]):
        run(rows, tokens)
        points[f"{rows} x {tokens}"] = resident()
    del tokenizer
    return points


def _tokens(rows: int, tokens: int) -> Feeds:
    ids: IntArray = np.random.default_rng(SEED).integers(1000, 30_000, (rows, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def resident(process: int | str = "self") -> Resident:
    """Look at a process's memory."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kilobytes = {name: float(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return Resident(kilobytes["Rss"] / 1024, kilobytes["Anonymous"] / 1024)


def compare_speed(bundle: Bundle) -> None:
    """Print processor time of each way to run a document and an instruction, relative to the document graph."""
    packed = Layout((DOCUMENT, QUERY, INSTRUCTION)).open(bundle)
    unpacked = Layout((DOCUMENT, INSTRUCTION), unpacked=(DOCUMENT, INSTRUCTION)).open(bundle)
    print("| relative processor time | " + " | ".join(f"{rows} x {tokens}" for rows, tokens in SHAPES) + " |")
    print("|---|" + "---:|" * len(SHAPES))
    columns = [_ratios(_ways(packed, unpacked, _tokens(*shape)), turns=TURNS[shape]) for shape in SHAPES]
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


def _ways(packed: LoadedGraphs, unpacked: LoadedGraphs, feeds: Feeds) -> dict[str, Callable[[], object]]:
    plain = {**feeds, **packed.after([None]), "instruction_index": np.zeros(len(feeds["input_ids"]), dtype=np.int64)}
    return {
        "document graph": lambda: packed.document.run(feeds),
        "document graph, unpacked": lambda: unpacked.document.run(feeds),
        "query graph without instruction": lambda: packed.query.run(plain),
        "instruction graph": lambda: packed.instruction.run(feeds),
        "instruction graph, unpacked": lambda: unpacked.instruction.run(feeds),
    }


def _ratios(ways: dict[str, Callable[[], object]], *, turns: int) -> dict[str, str]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name in list(ways) if turn % 2 else reversed(ways):
            started = time.process_time()
            ways[name]()
            taken[name].append(time.process_time() - started)
    first = taken["document graph"][1:]
    shown = {}
    for name, seconds in taken.items():
        ratio = median(one / base for one, base in zip(seconds[1:], first, strict=True))
        shown[name] = f"{ratio:.2f} ({median(seconds[1:]) * 1000:.1f} ms)"
    return shown


if __name__ == "__main__":
    main()
