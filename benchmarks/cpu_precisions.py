"""What a batch of texts costs on this processor: PyTorch, sentence-transformers, ONNX Runtime, OpenVINO; by precision.

    infembed bundle assemble --out B --precision fp32 --precision int8
    python -m benchmarks.cpu_precisions --bundle B --checkpoint DIR

`--checkpoint` is the Hugging Face directory of the bundle's base model. Every round runs every engine once in shuffled
order, and ratios are taken within a round, so that a change of the machine's mood hits all of them; the table gives
medians over the rounds. On a machine that does other work `--clock processor --threads 1` counts the time the process
had a processor, which waiting for one does not change. Engines whose libraries are not installed are left out by name.
All get the same token ids, but sentence-transformers, which gets the text: that is how it is used.
"""

import argparse
import importlib.util
import json
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from infembed.bundle import Bundle, Precision
from infembed.cpu import available_cpus, has_vnni
from infembed.encoder import OnnxEncoder
from infembed.errors import MissingArtefactError
from infembed.inputs import InputType
from infembed.onnx_runtime import ort
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray, normalize

LENGTHS = (8, 16, 32, 128, 256)
BATCHES = (1, 8, 32)
BASELINE = "PyTorch fp32"
SEED = 20261128
WORD = "water"
Ids = npt.NDArray[np.int64]
Run = Callable[[Ids], FloatArray]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}


class Engine(NamedTuple):
    """A name and what encodes a batch of token ids without padding to (B, D), pooled."""

    name: str
    run: Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="least time of one engine in one round")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--shape", action="append", help="BATCHxTOKENS; repeat for more; default: all")
    parser.add_argument("--engine", action="append", help="only engines whose name contains this; repeat for more")
    parser.add_argument("--json", type=Path, help="also write every sample here")
    arguments = parser.parse_args()
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shape or ()]
    shapes = shapes or [(batch, length) for length in LENGTHS for batch in BATCHES]
    wanted = arguments.engine or [""]
    clock = CLOCKS[arguments.clock]
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        engines = [
            engine
            for engine in all_engines(arguments.bundle, arguments.checkpoint, Path(scratch), arguments.threads)
            if engine.name == BASELINE or any(part in engine.name for part in wanted)
        ]
        vnni = "VNNI" if has_vnni() else "no VNNI"
        print(f"{arguments.threads} threads, {vnni}, {arguments.clock} clock, {arguments.rounds} rounds")
        samples = [
            measure(engines, batch, length, rounds=arguments.rounds, seconds=arguments.seconds, clock=clock)
            for batch, length in shapes
        ]
    if arguments.json:
        arguments.json.write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")


def all_engines(bundle: Path, checkpoint: Path, scratch: Path, n_threads: int) -> Iterator[Engine]:
    """Yield what can run here, loaded; say what cannot."""
    import torch

    torch.set_num_threads(n_threads)
    yield Engine(BASELINE, torch_model(checkpoint, torch.float32))
    yield Engine("PyTorch bf16", torch_model(checkpoint, torch.bfloat16))
    yield Engine("sentence-transformers", sentence_transformers(checkpoint))
    exported = export_unfused(checkpoint, scratch)
    yield Engine("ONNX unfused fp32", onnx_session(exported, n_threads))
    opened = Bundle.open(bundle)
    if Precision.FP32 in opened.manifest.precisions:
        yield Engine("bundle fp32 as written", encode_with(as_written(opened, n_threads)))
    for precision in (Precision.FP32, Precision.INT8):
        if precision in opened.manifest.precisions:
            encoder = OnnxEncoder(opened, precision=precision, n_threads=n_threads)
            yield Engine(f"bundle {precision}", encode_with(encoder))
        else:
            print(f"left out bundle {precision}: the bundle has {', '.join(opened.manifest.precisions)}")
    yield from openvino_engines(exported, n_threads)


def torch_model(checkpoint: Path, dtype: Any) -> Run:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(checkpoint, attn_implementation="sdpa", dtype=dtype).eval()

    def run(ids: Ids) -> FloatArray:
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(ids), attention_mask=torch.ones_like(torch.from_numpy(ids)))
            pooled: FloatArray = states.last_hidden_state.mean(1).float().numpy()
        return pooled

    return run


def sentence_transformers(checkpoint: Path) -> Run:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(checkpoint), device="cpu")

    def run(ids: Ids) -> FloatArray:
        texts = [" ".join([WORD] * (ids.shape[1] - 2))] * len(ids)
        return np.asarray(model.encode(texts, batch_size=len(ids), show_progress_bar=False))

    return run


def export_unfused(checkpoint: Path, scratch: Path) -> Path:
    """Trace the original model with mean pooling; no operator of ours in it."""
    import torch
    from transformers import AutoModel

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager")

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            pooled: torch.Tensor = (states * weights).sum(1) / weights.sum(1)
            return pooled

    ids = torch.ones(2, 7, dtype=torch.int64)
    path = scratch / "unfused.onnx"
    axes = {0: "B", 1: "T"}
    torch.onnx.export(
        Pooled().eval(),
        (ids, torch.ones_like(ids)),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["embedding"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "B"}},
        opset_version=17,
        dynamo=False,
    )
    return path


def onnx_session(path: Path, n_threads: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids: np.asarray(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])


def as_written(bundle: Bundle, n_threads: int) -> OnnxEncoder:
    """Load the float32 graphs without taking their skip layer norms apart."""
    with patch("infembed.sessions.take_apart", bytes):
        return OnnxEncoder(bundle, n_threads=n_threads)


def encode_with(encoder: OnnxEncoder) -> Run:
    return lambda ids: encoder.encode([TokenizedInput(InputType.DOCUMENT, ids=tuple(row)) for row in ids.tolist()])


def openvino_engines(exported: Path, n_threads: int) -> Iterator[Engine]:
    if importlib.util.find_spec("openvino") is None:
        print("left out OpenVINO: openvino is not installed (pip install openvino)")
        return
    import openvino as ov

    core = ov.Core()
    model = core.read_model(exported)

    def compiled(of: Any, precision: str) -> Run:
        options = {"INFERENCE_NUM_THREADS": n_threads, "INFERENCE_PRECISION_HINT": precision}
        ready = core.compile_model(of, "CPU", options | {"PERFORMANCE_HINT": "LATENCY"})
        return lambda ids: np.asarray(ready([ids, np.ones_like(ids)])[0])

    yield Engine("OpenVINO fp32", compiled(model, "f32"))
    yield Engine("OpenVINO bf16", compiled(model, "bf16"))
    if importlib.util.find_spec("nncf") is None:
        print("left out OpenVINO int8: nncf is not installed (pip install nncf)")
        return
    import nncf

    rng = np.random.default_rng(SEED)
    lengths = [LENGTHS[number % len(LENGTHS)] for number in range(64)]  # calibrated at 32 tokens it is useless at 256
    batches = [rng.integers(1000, 20000, (1, length)) for length in lengths]
    dataset = nncf.Dataset([{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in batches])
    quantized = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches))
    yield Engine("OpenVINO int8", compiled(quantized, "f32"))


def measure(
    engines: list[Engine], batch: int, length: int, *, rounds: int, seconds: float, clock: Clock
) -> dict[str, Any]:
    """Time one shape; prints its table and returns every sample in milliseconds."""
    ids = np.random.default_rng(SEED).integers(1000, 20000, (batch, length))
    wanted = normalize(engines[0].run(ids))
    taken: dict[str, list[float]] = {engine.name: [] for engine in engines}
    cosines = {engine.name: float((normalize(engine.run(ids)) * wanted).sum(1).min()) for engine in engines}
    order = random.Random(SEED)
    for _ in range(rounds):
        for engine in order.sample(engines, len(engines)):
            taken[engine.name].append(time_once(engine.run, ids, seconds, clock))
    print(f"\n{batch} x {length} tokens")
    for name, times in taken.items():
        speedup = median(base / own for base, own in zip(taken[BASELINE], times, strict=True))
        cosine = "" if name == "sentence-transformers" else f"  cosine {cosines[name]:.4f}"
        print(f"  {name:22} {median(times):9.2f} ms  {speedup:5.2f} x{cosine}", flush=True)
    return {"batch": batch, "tokens": length, "ms": taken, "cosine": cosines}


def time_once(run: Run, ids: Ids, seconds: float, clock: Clock) -> float:
    """Median milliseconds of a call, over as many calls as fit, at least one after a warm-up."""
    run(ids)
    times: list[float] = []
    until = clock() + seconds
    while not times or clock() < until:
        started = clock()
        run(ids)
        times.append((clock() - started) * 1000)
    return median(times)


if __name__ == "__main__":
    try:
        main()
    except MissingArtefactError as error:
        sys.exit(str(error))
