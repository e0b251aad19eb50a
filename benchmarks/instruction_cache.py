"""What remembering instructions is worth: one instruction of 60 tokens, many queries of 12, over HTTP.

    python -m benchmarks.instruction_cache --bundle .cache/bundle --concat BUNDLE

`--concat` is a bundle of the same base that reads the instruction again with every query (`infembed bundle assemble
--fusion concat --out BUNDLE`). Three services run side by side: with the cache, with a cache of no bytes, and `concat`.
Each round asks each of them in turn, and the bare sessions without any server, so that a change of the machine's mood
hits all of them; the table gives the median over the rounds.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.service_latency import Case, Sample, as_http, ready_url, run_http, run_round, table
from infembed.encoder import OnnxEncoder
from infembed.inputs import InputType, TextInput
from infembed.tokenization import TokenizedInput

QUERY_TOKENS = 12
INSTRUCTION_TOKENS = 60
CLIENTS = 16
SEED = 20261128
VOCABULARY = (
    "how to set up the new server on my old machine with less memory and no network what is the best way find a good "
    "book about house garden water light music history city river school work money health food travel sport film art "
    "only show answers that are short clear written for people who never used this before and leave out every page "
    "with code or tables please keep to what can be done by hand at home in one day without any special tool"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--concat", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=800, help="requests of one case in one round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    instruction, queries = make_texts(OnnxEncoder.open(arguments.bundle), arguments.requests)
    inputs = [TextInput(query, InputType.QUERY, instruction) for query in queries]
    with ExitStack() as services:
        cached = services.enter_context(served(arguments.bundle))
        forgetful = services.enter_context(served(arguments.bundle, INFEMBED_INSTRUCTION_CACHE_BYTES="0"))
        concat = services.enter_context(served(arguments.concat))
        urls = {"cache": cached, "no cache": forgetful, "concat": concat}
        cases = [*http_cases(urls, inputs), *bare_cases(arguments.bundle, arguments.concat, inputs)]
        rounds = [run_round(cases, number) for number in range(arguments.rounds)]
    print(
        f"\n{INSTRUCTION_TOKENS} tokens of instruction, {QUERY_TOKENS} of query, {os.cpu_count()} processors; ", end=""
    )
    print(f"{arguments.requests} requests a case, median of {arguments.rounds} rounds\n")
    print(table(cases, rounds))
    print(f"\npredicted from tokens read: {tokens_of_concat() / QUERY_TOKENS:.1f} x as many")
    for clients in (1, CLIENTS):
        for kind in ("bare session", "/embed"):
            print(f"{kind}, {clients} at a time: {gain(cases, rounds, kind, clients):.1f} x as many as concat")


def tokens_of_concat() -> int:
    """Both texts as one: one pair of special tokens less."""
    return QUERY_TOKENS + INSTRUCTION_TOKENS - 2


def gain(cases: Sequence[Case], rounds: Sequence[Sequence[Sample]], kind: str, clients: int) -> float:
    """Divide the rates with the cache by those of concat, round by round."""
    number = {(case.name, case.n_clients): n for n, case in enumerate(cases)}
    cached, concat = (number[f"{kind}, {name}", clients] for name in ("cache", "concat"))
    return median(one[cached].per_s / one[concat].per_s for one in rounds)


def make_texts(encoder: OnnxEncoder, n: int) -> tuple[str, list[str]]:
    """Make an instruction and different queries of exactly the lengths that are measured."""
    rng, words = random.Random(SEED), VOCABULARY.split()
    texts = [" ".join(rng.choices(words, k=INSTRUCTION_TOKENS - 2))]
    texts += [" ".join(rng.choices(words, k=QUERY_TOKENS - 2)) for _ in range(n)]
    lengths = [len(item.ids) for item in encoder.tokenizer.tokenize([TextInput(text) for text in texts])]
    if lengths != [INSTRUCTION_TOKENS] + [QUERY_TOKENS] * n:
        raise SystemExit("this model's tokenizer cuts the words of this benchmark; it needs a BERT vocabulary")
    return texts[0], texts[1:]


def http_cases(urls: Mapping[str, str], inputs: Sequence[TextInput]) -> Iterator[Case]:
    requests = [as_http("/embed", {"inputs": item.text, "instruction": item.instruction}) for item in inputs]
    for n_clients in (1, CLIENTS):
        for name, url in urls.items():
            yield Case(f"/embed, {name}", n_clients, lambda u=url, n=n_clients: asyncio.run(run_http(u, requests, n)))  # type: ignore[misc]


def bare_cases(bundle: Path, concat: Path, inputs: Sequence[TextInput]) -> Iterator[Case]:
    """The models alone on token ids, one query and sixteen at a time; the states of the instruction are at hand."""
    with_states, whole = OnnxEncoder.open(bundle), OnnxEncoder.open(concat)
    queries, texts = with_states.tokenizer.tokenize(inputs), whole.tokenizer.tokenize(inputs)
    states = with_states.encode_instructions(query.instruction_ids for query in queries)
    for size in (1, CLIENTS):
        yield _bare("cache", size, lambda batch: with_states.encode_queries_with(states, batch), queries)
        yield _bare("concat", size, whole.encode, texts)


def _bare(
    name: str, size: int, run: Callable[[Sequence[TokenizedInput]], object], items: Sequence[TokenizedInput]
) -> Case:
    def measure() -> Sample:
        latencies: list[float] = []
        began = time.perf_counter()
        for start in range(0, len(items), size):
            started = time.perf_counter()
            batch = items[start : start + size]
            run(batch)
            latencies += [(time.perf_counter() - started) * 1000] * len(batch)
        return Sample(latencies, time.perf_counter() - began)

    return Case(f"bare session, {name}", size, measure)


@contextmanager
def served(bundle: Path, **settings: str) -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("infembed")), "serve", "--port", "0", "--bundle", str(bundle)]
    environment = {**os.environ, "INFEMBED_LOG_LEVEL": "warning", **settings}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield ready_url(process)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
