"""Documents and queries per second of a bundle on a GPU, beside PyTorch on the same card in the same run.

    python -m benchmarks.gpu --bundle BUNDLE --precision fp16
    python -m benchmarks.gpu --bundle BUNDLE --device cpu --lengths 16 --rows 2 --seconds 0.2   (dry run)

Documents have between a quarter of the length and all of it; queries have the length given and an instruction whose
states are kept. FLOP are those of real tokens, so padding lowers the rate; the peak is one large matrix product's.
PyTorch runs the checkpoint that the untrained bundle was assembled from: speed alone is compared. Ways are timed in
turn, and the median of the turns is shown.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from infembed.bundle import Bundle, GraphName, Precision
from infembed.encoder import pad
from infembed.errors import InfEmbedError
from infembed.execution import Footprint, Provider
from infembed.graphs import BoundGraph, Graph, PlainGraph
from infembed.loading import LoadedGraphs, load_graphs
from infembed.sessions import open_session, require_provider, session_options
from model_export.assemble import CHECKPOINT_FILE, find_base
from model_export.bert import BertShape
from model_export.blueprint import read_shape
from model_export.recipe import minilm_base

TURNS = 5
INSTRUCTION_TOKENS = 16
SEED = 20261128
Feeds = dict[str, npt.NDArray[Any]]
Run = Callable[[Feeds], object]


@dataclass(frozen=True)
class Machine:
    """Where and how everything is measured."""

    device: str
    precision: Precision
    rows: int
    seconds: float

    @property
    def provider(self) -> Provider:
        return Provider.CPU if self.device == "cpu" else Provider.CUDA

    @property
    def dtype_name(self) -> str:
        return "float16" if self.precision is Precision.FP16 else "float32"

    def synchronize(self) -> None:
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="for PyTorch; default: the installed base model")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.FP32)
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--rows", type=int, default=64, help="documents of a batch; queries go alone and by as many")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one way in one turn")
    arguments = parser.parse_args()
    machine = Machine(arguments.device, arguments.precision, arguments.rows, arguments.seconds)
    try:
        require_provider(machine.provider)
        measure(machine, Bundle.open(arguments.bundle), arguments.checkpoint or find_base(minilm_base()), arguments)
    except InfEmbedError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


def measure(machine: Machine, bundle: Bundle, checkpoint: Path, arguments: argparse.Namespace) -> None:
    shape = _bert_shape(checkpoint)
    peak = matrix_peak(machine)
    print(f"{device_name(machine)}, {machine.precision}: one matrix product reaches {peak / 1e12:.3g} TFLOP/s\n")
    print("| way | length | rows | texts/s | FLOP/s of the peak |\n|---|---:|---:|---:|---:|")
    rng = np.random.default_rng(SEED)
    document_ways = dict(documents(machine, bundle, checkpoint))
    query_ways = dict(queries(machine, bundle))
    for length in sorted({min(length, bundle.manifest.n_positions) for length in arguments.lengths}):
        lengths = rng.integers(max(1, length // 4), length + 1, machine.rows).tolist()
        report(machine, document_ways, texts(rng, lengths), sum(flops(shape, n) for n in lengths) / peak)
        for rows in (1, machine.rows):
            own = min(length, bundle.manifest.n_positions - INSTRUCTION_TOKENS)
            work = rows * flops(shape, own, before=INSTRUCTION_TOKENS) / peak
            report(machine, query_ways, texts(rng, [own] * rows), work)


def report(machine: Machine, ways: dict[str, Run], feeds: Feeds, seconds_at_peak: float) -> None:
    """Time the ways in turn on one batch; a way that fails says so and the others go on."""
    rows, length = feeds["input_ids"].shape
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS):
        for name in list(ways) if turn % 2 else list(reversed(ways)):
            try:
                taken[name].append(seconds_a_batch(machine, ways[name], feeds))
            except Exception as error:  # noqa: BLE001 - a kernel that is missing on this card is a finding
                print(f"| {name} | {length} | {rows} | failed: {' '.join(str(error).split())[:160]} | |")
                ways = {other: run for other, run in ways.items() if other != name}
    for name in ways:
        one = median(taken[name])
        print(f"| {name} | {length} | {rows} | {rows / one:.0f} | {seconds_at_peak / one:.1%} |")


def seconds_a_batch(machine: Machine, run: Run, feeds: Feeds) -> float:
    run(feeds)
    run(feeds)
    machine.synchronize()
    n, started = 0, time.perf_counter()
    while n == 0 or time.perf_counter() - started < machine.seconds:
        run(feeds)
        n += 1
    machine.synchronize()
    return (time.perf_counter() - started) / n


def texts(rng: np.random.Generator, lengths: Sequence[int]) -> Feeds:
    ids, mask = pad([rng.integers(1000, 30_000, length).tolist() for length in lengths])
    return {"input_ids": ids, "attention_mask": mask}


def _bert_shape(checkpoint: Path) -> BertShape:
    shape = read_shape(checkpoint)
    if not isinstance(shape, BertShape):
        raise SystemExit(f"{checkpoint} is of the family {shape.family}; only BERT's operations are counted here")
    return shape


def flops(shape: BertShape, tokens: int, *, before: int = 0) -> float:
    """Count the multiplications and additions of the layers on one text; `before` are kept tokens it looks at too."""
    matrices = 4 * shape.dim**2 + 2 * shape.dim * shape.feed_forward_dim
    return float(shape.n_layers * 2 * tokens * (matrices + 2 * (tokens + before) * shape.dim))


def documents(machine: Machine, bundle: Bundle, checkpoint: Path) -> Iterator[tuple[str, Run]]:
    path = bundle.graph_path(GraphName.DOCUMENT, machine.precision)
    session = open_session(path, session_options(0), provider=machine.provider)
    yield "document, ONNX Runtime", PlainGraph(session).run
    yield "document, ONNX Runtime, bound buffers", BoundGraph(session, device=machine.device).run
    if machine.device != "cpu":
        captured = open_session(path, session_options(0), provider=machine.provider, cuda_graphs=True)
        yield "document, ONNX Runtime, CUDA graphs", BoundGraph(captured, device=machine.device).run
        yield "document, ONNX Runtime, packed", packed_graph(path, machine).run
    model = torch_model(machine, checkpoint)
    yield "document, PyTorch SDPA", torch_run(machine, model)
    yield "document, PyTorch SDPA, compiled", torch_run(machine, compiled(model))


def queries(machine: Machine, bundle: Bundle) -> Iterator[tuple[str, Run]]:
    graphs = load_graphs(bundle, machine.precision, provider=machine.provider, footprint=Footprint.FAST, n_threads=0)
    if not graphs.has_states:
        return
    instruction = texts(np.random.default_rng(SEED), [INSTRUCTION_TOKENS])
    (state,) = graphs.instruction.run(instruction)
    yield "query after its instruction", lambda feeds: graphs.query.run(feeds | after(graphs, state, feeds))
    if machine.device == "cpu":
        path = bundle.graph_path(GraphName.QUERY, machine.precision)
        bound = BoundGraph(open_session(path, session_options(0)), device="cpu")
        yield "query after its instruction, bound buffers", lambda feeds: bound.run(feeds | after(graphs, state, feeds))


def after(graphs: LoadedGraphs, state: npt.NDArray[np.float32], feeds: Feeds) -> Feeds:
    return graphs.after([state]) | {"instruction_index": np.zeros(len(feeds["input_ids"]), dtype=np.int64)}


def packed_graph(path: Path, machine: Machine) -> Graph:
    """Pack the document graph in a copy of its folder; a bundle is never written to."""
    import onnx

    from model_export.packing import pack

    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(shutil.copytree(path.parent, Path(scratch) / "packed")) / path.name
        packed.write_bytes(pack(onnx.load(path, load_external_data=False)).SerializeToString())
        return PlainGraph(open_session(packed, session_options(0), provider=machine.provider))


def torch_model(machine: Machine, checkpoint: Path) -> Any:
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config = BertConfig.from_pretrained(checkpoint, attn_implementation="sdpa")
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(load_file(checkpoint / CHECKPOINT_FILE), strict=False)
    return model.eval().to(machine.device, getattr(torch, machine.dtype_name))


def compiled(model: Any) -> Any:
    import torch

    return torch.compile(model, dynamic=False)


def torch_run(machine: Machine, model: Any) -> Run:
    import torch

    def run(feeds: Feeds) -> object:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(machine.device) for name, array in feeds.items()}
            states = model(**tensors).last_hidden_state
            mask = tensors["attention_mask"].unsqueeze(-1).to(states.dtype)
            return ((states * mask).sum(1) / mask.sum(1)).float().cpu()

    return run


def matrix_peak(machine: Machine) -> float:
    """Return the FLOP/s of one large matrix product in PyTorch, the best of several."""
    import torch

    size = 1024 if machine.device == "cpu" else 8192
    left, right = (
        torch.ones(size, size, dtype=getattr(torch, machine.dtype_name), device=machine.device) for _ in "ab"
    )
    best = float("inf")
    for _ in range(10):
        machine.synchronize()
        started = time.perf_counter()
        left @ right
        machine.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def device_name(machine: Machine) -> str:
    import torch

    return "processor" if machine.device == "cpu" else torch.cuda.get_device_name()


if __name__ == "__main__":
    sys.exit(main())
