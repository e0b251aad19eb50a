"""Every metric the service exports: names, labels and buckets in one place."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from weakref import WeakSet

from infembed.memory import available_memory_bytes
from service.batching import Lane
from service.metric_registry import MetricRegistry, Series

_SECONDS = (
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    32.0,
)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_SHIFTS = (0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_LANES = (Lane.INTERACTIVE, Lane.BULK)
_NO_LANE = "none"
_REFUSED = "refused"


class Stage(StrEnum):
    """Where a request spends its time."""

    TOKENIZE = "tokenize"
    QUEUE = "queue"
    INFERENCE = "inference"
    SEARCH = "search"


class InputKind(StrEnum):
    """What is embedded."""

    DOCUMENT = "document"
    PLAIN_QUERY = "plain_query"
    INSTRUCTED_QUERY = "instructed_query"


class Dropped(StrEnum):
    """Why an input never reached the model."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Lookup(StrEnum):
    """What the cache of instructions said."""

    HIT = "hit"
    MISS = "miss"


class Outcome(StrEnum):
    """What came of a reload that was not refused."""

    SWAPPED = "swapped"
    UNCHANGED = "unchanged"


class WatchedQueue(Protocol):
    """What is read of a queue whenever metrics are."""

    @property
    def n_inputs(self) -> int: ...

    @property
    def n_tokens(self) -> int: ...

    @property
    def drained_per_s(self) -> float: ...


class WatchedInstructions(Protocol):
    """What is read of a cache of instructions whenever metrics are."""

    @property
    def n_instructions(self) -> int: ...

    @property
    def n_bytes(self) -> int: ...


class Metrics:
    """What an application counts; two applications in a process share nothing."""

    def __init__(self) -> None:
        self._registry = MetricRegistry()
        self._queues: WeakSet[WatchedQueue] = WeakSet()
        self._caches: WeakSet[WatchedInstructions] = WeakSet()
        self._define_requests(self._registry)
        self._define_batches(self._registry)
        self._define_instructions(self._registry)
        self._define_releases(self._registry)

    def request(self, route: str, status: int, seconds: float, *, lane: Lane | None = None) -> None:
        """Count a request; `lane` is None where no text of it was embedded."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route, lane or _NO_LANE).observe(seconds)

    def stage(self, stage: Stage, seconds: float, *, lane: Lane) -> None:
        self._stage_seconds.labels(stage, lane).observe(max(0.0, seconds))

    def inputs(self, kinds: Mapping[InputKind, int], *, truncated: int) -> None:
        for kind, n in kinds.items():
            self._inputs.labels(kind).inc(n)
        self._truncated.inc(truncated)

    def error(self, error_type: str) -> None:
        self._errors.labels(error_type).inc()

    def non_finite(self) -> None:
        self._non_finite.inc()

    def batch(self, *, rows: int, tokens: int, padding: int, seconds: float, busy_s: float) -> None:
        self._batch_rows.observe(rows)
        self._batch_tokens.observe(tokens)
        self._padding.inc(padding)
        self._batch_seconds.observe(seconds)
        self._busy.inc(max(0.0, busy_s))

    def forward(self) -> None:
        """Note that the model has just made a vector."""
        self._last_forward.set_to_current_time()

    def watch_queue(self, queue: WatchedQueue) -> None:
        """Show a queue for as long as it lives; while models are swapped there are two.

        A new set each time: a model is made in a thread, while the event loop may be going through the old one.
        """
        self._queues = WeakSet((*self._queues, queue))

    def watch_instructions(self, cache: WatchedInstructions) -> None:
        """Show a cache for as long as it lives."""
        self._caches = WeakSet((*self._caches, cache))

    def dropped(self, reason: Dropped) -> None:
        self._dropped.labels(reason).inc()

    def refused(self, lane: Lane) -> None:
        self._refused.labels(lane).inc()

    def rate_limited(self) -> None:
        self._rate_limited.inc()

    def instructions(self, *, hits: int, misses: int) -> None:
        self._lookups.labels(Lookup.HIT).inc(hits)
        self._lookups.labels(Lookup.MISS).inc(misses)

    def instruction_evicted(self) -> None:
        self._evictions.inc()

    def instruction_effect(self, *, query_shift: float, rank_churn: float) -> None:
        """Observe what an instruction did to one search."""
        self._shift.observe(max(0.0, query_shift))
        self._churn.observe(rank_churn)

    def model(self, *, name: str, fusion: str, digest: str, version: str, probe_shift: float) -> None:
        self._model.info({"name": name, "fusion": fusion, "digest": digest, "version": version})
        self._probe_shift.set(max(0.0, probe_shift))

    def collection(self, name: str, *, documents: int, size_bytes: int, built_at: str) -> None:
        """Show a collection; `built_at` is ISO 8601, as manifests write it."""
        self._index_documents.labels(name).set(documents)
        self._index_bytes.labels(name).set(size_bytes)
        self._index_built.labels(name).set(datetime.fromisoformat(built_at).timestamp())

    def forget_collection(self, name: str) -> None:
        for gauge in (self._index_documents, self._index_bytes, self._index_built):
            gauge.remove(name)

    def reload(self, outcome: Outcome) -> None:
        self._reloads.labels(outcome).inc()
        self._is_reloaded.set(1)

    def reload_refused(self) -> None:
        self._reloads.labels(_REFUSED).inc()
        self._is_reloaded.set(0)

    def render(self) -> bytes:
        """Write everything in Prometheus text format."""
        return self._registry.render()

    def series(self) -> list[Series]:
        """List what Prometheus learns from here, so that queries can be checked without one."""
        return self._registry.series()

    def _define_requests(self, registry: MetricRegistry) -> None:
        self._requests = registry.counter(
            "infembed_requests", "Requests by route and status code.", route=None, status=None
        )
        self._request_seconds = registry.histogram(
            "infembed_request_duration_seconds",
            "Whole requests by lane: `interactive`, `bulk`, or `none` where no text was embedded.",
            _SECONDS,
            route=None,
            lane=(*_LANES, _NO_LANE),
        )
        self._stage_seconds = registry.histogram(
            "infembed_stage_duration_seconds",
            "Requests by lane and stage: `tokenize`, `queue`, `inference` or `search`.",
            _SECONDS,
            stage=Stage,
            lane=_LANES,
        )
        self._errors = registry.counter("infembed_errors", "Error answers by class.", error_type=None)
        self._inputs = registry.counter(
            "infembed_inputs", "Inputs embedded: `document`, `plain_query` or `instructed_query`.", kind=InputKind
        )
        self._truncated = registry.counter("infembed_truncated_inputs", "Inputs cut to the model's length.")
        self._non_finite = registry.counter("infembed_non_finite_vectors", "Vectors with NaN or infinity; never sent.")

    def _define_batches(self, registry: MetricRegistry) -> None:
        self._batch_rows = registry.histogram("infembed_batch_inputs", "Inputs of a batch.", _SIZES)
        self._batch_tokens = registry.histogram(
            "infembed_batch_tokens", "Tokens of a batch, remembered instructions left out.", _TOKENS
        )
        self._padding = registry.counter("infembed_padding_tokens", "Tokens computed for nothing: padding.")
        self._batch_seconds = registry.histogram(
            "infembed_batch_duration_seconds", "One batch on its inference thread.", _SECONDS
        )
        self._busy = registry.counter(
            "infembed_model_busy_seconds",
            "Time the model was at work; batches side by side each count a thread's share, so that a full one counts 1 "
            "a second.",
        )
        self._last_forward = registry.gauge(
            "infembed_last_forward_timestamp_seconds", "When the model last made a vector, in seconds since 1970."
        )
        self._queued_inputs = registry.gauge("infembed_queue_inputs", "Inputs waiting for a batch.")
        self._queued_tokens = registry.gauge(
            "infembed_queue_tokens", "Tokens waiting or being computed, remembered instructions left out."
        )
        self._queued_inputs.set_function(lambda: sum(queue.n_inputs for queue in self._queues))
        self._queued_tokens.set_function(lambda: sum(queue.n_tokens for queue in self._queues))
        self._dropped = registry.counter(
            "infembed_dropped_inputs", "Inputs dropped before the model: `cancelled` or `expired`.", reason=Dropped
        )
        self._refused = registry.counter(
            "infembed_refused_requests",
            "Requests refused before they waited, by lane: `interactive`, `bulk` or `urgent`.",
            lane=Lane,
        )
        self._rate_limited = registry.counter(
            "infembed_rate_limited_requests", "Requests of clients beyond their rate limit."
        )
        self._drain_rate = registry.gauge(
            "infembed_drain_tokens_per_second", "Tokens computed per second of a backlog."
        )
        self._drain_rate.set_function(lambda: max((queue.drained_per_s for queue in self._queues), default=0.0))

    def _define_instructions(self, registry: MetricRegistry) -> None:
        self._lookups = registry.counter(
            "infembed_instruction_cache_requests", "Instructions of batches: `hit` or `miss`.", outcome=Lookup
        )
        self._evictions = registry.counter(
            "infembed_instruction_cache_evictions", "Instructions forgotten to make room."
        )
        self._instructions_kept = registry.gauge("infembed_instruction_cache_instructions", "Instructions remembered.")
        self._instruction_bytes = registry.gauge(
            "infembed_instruction_cache_size_bytes", "Memory of remembered instructions."
        )
        self._instructions_kept.set_function(lambda: sum(cache.n_instructions for cache in self._caches))
        self._instruction_bytes.set_function(lambda: sum(cache.n_bytes for cache in self._caches))
        self._shift = registry.histogram(
            "infembed_instruction_query_shift_ratio",
            "1 - cosine between the query with and without its instruction, for explained and sampled searches.",
            _SHIFTS,
        )
        self._churn = registry.histogram(
            "infembed_instruction_rank_churn_ratio",
            "Share of results that the query without its instruction does not find as high, for the same searches.",
            _SHARES,
        )
        self._probe_shift = registry.gauge(
            "infembed_instruction_probe_shift_ratio",
            "The same shift of a fixed query and instruction, measured when the model was loaded.",
        )

    def _define_releases(self, registry: MetricRegistry) -> None:
        self._model = registry.info(
            "infembed_model", "The model being served.", facts=("name", "fusion", "digest", "version")
        )
        self._index_documents = registry.gauge(
            "infembed_index_documents", "Documents of a collection.", collection=None
        )
        self._index_bytes = registry.gauge("infembed_index_size_bytes", "Index files of a collection.", collection=None)
        self._index_built = registry.gauge(
            "infembed_index_built_timestamp_seconds",
            "When the served index generation was built, in seconds since 1970.",
            collection=None,
        )
        self._reloads = registry.counter(
            "infembed_reloads", "Reloads: `swapped`, `unchanged` or `refused`.", outcome=(*Outcome, _REFUSED)
        )
        self._is_reloaded = registry.gauge(
            "infembed_last_reload_successful", "0 from a refused reload until one succeeds, else 1."
        )
        self._is_reloaded.set(1)
        self._memory_limit = registry.gauge(
            "infembed_memory_limit_bytes",
            "Memory the process may have: its container's limit, or the machine's memory.",
        )
        self._memory_limit.set_function(available_memory_bytes)
