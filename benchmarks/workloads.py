"""What servers are asked, and the model alone on the same texts."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from benchmarks.instruction_cache import VOCABULARY
from benchmarks.peer_servers import Running
from benchmarks.wrk import Load, joined, load_of, run_load, warm_up, write_bodies
from infembed.bundle import Precision
from infembed.encoder import OnnxEncoder
from infembed.execution import Footprint
from infembed.inputs import TextInput
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray

SHORT_TEXTS, SHORT_WORDS = 8192, (18, 18)
BATCHES, BATCH_TEXTS, BATCH_WORDS = 256, 32, (20, 120)
SORTED_TEXTS = 16 * BATCH_TEXTS
"""How many texts the model alone may sort by length at once."""
WARM_UP_S = 1.0
SEED = 20261128


class Workload(NamedTuple):
    """Requests of one kind: the file that holds their bodies, where they go, how many connections send them."""

    bodies: Path
    path: str
    connections: int

    def put_on(self, *servers: Running, seconds: float) -> Load:
        """Wake servers, warm them up, measure them together; replicas divide the connections evenly."""
        share = self._replace(connections=self.connections // len(servers))
        with ExitStack() as stack, ThreadPoolExecutor(len(servers)) as clients:
            for server in servers:
                stack.enter_context(server.awake())
            list(clients.map(share.warm_up, servers))
            loads = list(clients.map(partial(share.run, seconds=seconds), servers))
        return joined(loads)

    def warm_up(self, server: Running) -> None:
        """Let a server that is awake work for a second, and finish what it was asked."""
        warm_up(server.url + self.path, self.bodies, connections=self.connections, seconds=WARM_UP_S)
        server.settle()

    def run(self, server: Running, *, seconds: float) -> Load:
        """Measure a server that is awake, and let it finish."""
        load = run_load(server.url + self.path, self.bodies, connections=self.connections, seconds=seconds)
        server.settle()
        return load


def short_texts() -> list[str]:
    """Make the texts of single requests."""
    return make_texts(SHORT_TEXTS, words=SHORT_WORDS, seed=SEED)


def text_batches() -> list[list[str]]:
    """Make the texts of batch requests."""
    texts = make_texts(BATCHES * BATCH_TEXTS, words=BATCH_WORDS, seed=SEED + 1)
    return [texts[i : i + BATCH_TEXTS] for i in range(0, len(texts), BATCH_TEXTS)]


def make_texts(n: int, *, words: tuple[int, int], seed: int) -> list[str]:
    """Make texts of random words, as many in each as a number of this range, both ends included."""
    rng, vocabulary = random.Random(seed), VOCABULARY.split()
    return [" ".join(rng.choices(vocabulary, k=rng.randint(*words))) for _ in range(n)]


def single_requests(directory: Path, *, connections: int) -> Workload:
    """Write OpenAI's requests of one text each, as every server here understands them."""
    bodies = [{"model": "model", "input": text} for text in short_texts()]
    return Workload(write_bodies(directory / "short.jsonl", bodies), "/embeddings", connections)


def batch_requests(directory: Path, *, connections: int) -> Workload:
    """Write OpenAI's requests of many texts each."""
    bodies = [{"model": "model", "input": batch} for batch in text_batches()]
    return Workload(write_bodies(directory / "batches.jsonl", bodies), "/embeddings", connections)


class BareModel:
    """The model on token ids: what a server would be without HTTP, tokenizer, queue and JSON."""

    def __init__(self, bundle: Path, precision: Precision) -> None:
        self._encoder = OnnxEncoder.open(bundle, precision=precision, footprint=Footprint.FAST)

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        return self._encoder.encode_documents(texts)

    def one_by_one(self, seconds: float) -> Load:
        """Run short texts one at a time."""
        return timed(self._encoder.encode, [[item] for item in self._tokens(short_texts())], seconds=seconds)

    def sorted_batches(self, seconds: float) -> Load:
        """Run the texts of batch requests, many sorted by length at once; counted in requests."""
        items = self._tokens([text for batch in text_batches() for text in batch])
        together = [items[i : i + SORTED_TEXTS] for i in range(0, len(items), SORTED_TEXTS)]
        load = timed(self._encoder.encode, together, seconds=seconds)
        return load._replace(answers=load.answers * SORTED_TEXTS // BATCH_TEXTS)

    def _tokens(self, texts: Sequence[str]) -> list[TokenizedInput]:
        return self._encoder.tokenizer.tokenize([TextInput(text) for text in texts])


def timed(
    run: Callable[[Sequence[TokenizedInput]], object], batches: Sequence[Sequence[TokenizedInput]], *, seconds: float
) -> Load:
    """Run batches in turn for `seconds`; an answer is a batch."""
    run(batches[0])
    latencies: list[float] = []
    began = now = time.perf_counter()
    for batch in cycle(batches):
        if now >= began + seconds:
            break
        run(batch)
        latencies.append(time.perf_counter() - now)
        now = time.perf_counter()
    return load_of(latencies, seconds=now - began)
