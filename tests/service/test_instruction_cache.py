import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from infembed.encoder import OnnxEncoder, TokenIds
from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.instruction_cache import InstructionCache
from service.metrics import Metrics

BYTES_PER_TOKEN = 8
"""Of the fake's states."""


class Instructions:
    """Gives each token its own number twice as a state; keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[TokenIds]] = []

    def __call__(self, instructions: Iterable[TokenIds]) -> dict[TokenIds, FloatArray]:
        wanted = list(instructions)
        self.asked.append(wanted)
        return {ids: np.array([[n, n] for n in ids], dtype=np.float32) for ids in wanted}


def _cache(encode: Instructions, *, n_tokens: int, metrics: Metrics | None = None) -> InstructionCache:
    return InstructionCache(encode, metrics or Metrics(), max_bytes=n_tokens * BYTES_PER_TOKEN)


def _query(*instruction: int) -> TokenizedInput:
    return TokenizedInput(InputType.QUERY, ids=(1, 2, 3), instruction_ids=instruction)


def test_an_instruction_is_computed_once() -> None:
    encode = Instructions()
    cache = _cache(encode, n_tokens=100)
    first = cache.states_of([(1, 2), (1, 2), (), (3,)])
    second = cache.states_of([(3,), (1, 2)])
    assert encode.asked == [[(1, 2), (3,)]]
    for ids in ((1, 2), (3,)):
        np.testing.assert_array_equal(first[ids], second[ids])


def test_what_a_batch_misses_is_computed_together() -> None:
    encode = Instructions()
    cache = _cache(encode, n_tokens=100)
    cache.states_of([(2,)])
    assert list(cache.states_of([(1,), (2,), (3,)])) == [(2,), (1,), (3,)]
    assert encode.asked == [[(2,)], [(1,), (3,)]]


def test_the_least_recently_used_instruction_goes_first() -> None:
    encode, metrics = Instructions(), Metrics()
    cache = _cache(encode, n_tokens=4, metrics=metrics)
    cache.states_of([(1, 1)])
    cache.states_of([(2, 2)])
    cache.states_of([(1, 1)])
    cache.states_of([(3, 3)])  # no room: (2, 2) goes
    cache.states_of([(1, 1), (3, 3)])
    cache.states_of([(2, 2)])
    assert encode.asked == [[(1, 1)], [(2, 2)], [(3, 3)], [(2, 2)]]
    text = metrics.render().decode()
    for line in (
        'infembed_instruction_cache_requests_total{outcome="hit"} 3.0',
        'infembed_instruction_cache_requests_total{outcome="miss"} 4.0',
        "infembed_instruction_cache_evictions_total 2.0",
        "infembed_instruction_cache_instructions 2.0",
        f"infembed_instruction_cache_size_bytes {4.0 * BYTES_PER_TOKEN}",
    ):
        assert line in text


def test_a_new_models_cache_is_empty_and_both_are_counted_while_the_old_one_lives() -> None:
    encode, metrics = Instructions(), Metrics()
    old, new = (_cache(encode, n_tokens=100, metrics=metrics) for _ in range(2))
    for cache in (old, new):
        cache.states_of([(1, 2)])
    assert encode.asked == [[(1, 2)]] * 2
    assert b"infembed_instruction_cache_instructions 2.0" in metrics.render()
    del old, cache
    assert b"infembed_instruction_cache_instructions 1.0" in metrics.render()


@pytest.mark.parametrize("fault", [None, RuntimeError("broken")])
def test_batches_side_by_side_compute_an_instruction_once_unless_that_fails(fault: Exception | None) -> None:
    asked: list[list[TokenIds]] = []
    is_asked, gate = threading.Event(), threading.Event()

    def encode(instructions: Iterable[TokenIds]) -> dict[TokenIds, FloatArray]:
        wanted = list(instructions)
        asked.append(wanted)
        if (1,) in wanted:
            is_asked.set()
            gate.wait(timeout=10)
            if fault is not None:
                raise fault
        return Instructions()(wanted)

    cache = InstructionCache(encode, Metrics(), max_bytes=1000)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.states_of, [(1,)])
        is_asked.wait(timeout=10)
        second = threads.submit(cache.states_of, [(1,), (2,)])
        while len(asked) < 2:
            time.sleep(0.001)
        assert not second.done()  # it has computed its own and waits for the other's
        gate.set()
        errors = [one.exception(timeout=10) for one in (first, second)]
    assert asked[:2] == [[(1,)], [(2,)]]
    if fault is None:
        assert len(asked) == 2
        assert second.result().keys() == {(1,), (2,)}
    else:
        assert errors == [fault, fault]
        assert cache.costs([_query(1), _query(2)]) == [4, 3]  # what failed is not remembered, the rest is


def test_a_batch_whose_instruction_was_computed_with_a_broken_one_computes_it_itself() -> None:
    is_asked, gate = threading.Event(), threading.Event()

    def encode(instructions: Iterable[TokenIds]) -> dict[TokenIds, FloatArray]:
        wanted = list(instructions)
        if (666,) in wanted:
            is_asked.set()
            gate.wait(timeout=10)
            raise RuntimeError("broken")
        return Instructions()(wanted)

    metrics = Metrics()
    cache = InstructionCache(encode, metrics, max_bytes=1000)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.states_of, [(1,), (666,)])
        is_asked.wait(timeout=10)
        second = threads.submit(cache.states_of, [(1,)])
        while b'requests_total{outcome="hit"} 1.0' not in metrics.render():  # it waits for the first
            time.sleep(0.001)
        gate.set()
        assert isinstance(first.exception(timeout=10), RuntimeError)
        assert second.result(timeout=10).keys() == {(1,)}


def test_a_batch_gets_all_its_instructions_though_they_do_not_fit_the_cache() -> None:
    cache = _cache(Instructions(), n_tokens=2)
    wanted: list[TokenIds] = [(1, 1), (2, 2), (3, 3, 3), (4,)]
    assert sorted(cache.states_of(wanted)) == wanted


def test_a_cache_of_no_bytes_remembers_nothing() -> None:
    encode = Instructions()
    cache = _cache(encode, n_tokens=0)
    for _ in range(2):
        cache.states_of([(1,)])
    assert encode.asked == [[(1,)], [(1,)]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_states_that_are_not_finite_are_not_kept(value: float) -> None:
    asked: list[TokenIds] = []

    def encode(instructions: Iterable[TokenIds]) -> dict[TokenIds, FloatArray]:
        asked.extend(instructions)
        return {(1,): np.array([[value, 0]], dtype=np.float32)}

    cache = InstructionCache(encode, Metrics(), max_bytes=1000)
    for _ in range(2):
        np.testing.assert_array_equal(cache.states_of([(1,)])[1,], [[np.float32(value), 0]])
    assert len(asked) == 2


def test_an_input_costs_its_instruction_unless_that_is_known_or_came_before() -> None:
    cache = _cache(Instructions(), n_tokens=100)
    cache.states_of([(7, 7)])
    queries = [_query(7, 7), _query(8, 8, 8), _query(8, 8, 8), _query()]
    assert cache.costs(queries) == [3, 6, 3, 3]


def test_vectors_are_the_same_whether_an_instruction_was_known_or_not(any_tiny_bundle: Path) -> None:
    encoder = OnnxEncoder.open(any_tiny_bundle, n_threads=1)
    cache = InstructionCache(encoder.encode_instructions, Metrics(), max_bytes=1_000_000)
    queries = [_query(2, 9, 3), _query(2, 11, 12, 13, 3), _query(), _query(2, 9, 3)]
    missed = encoder.encode(queries, states_of=cache.states_of)
    hit = encoder.encode(queries, states_of=cache.states_of)
    np.testing.assert_array_equal(missed, hit)
    np.testing.assert_allclose(hit, encoder.encode(queries), atol=1e-5)
