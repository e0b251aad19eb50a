"""Every metric the service exports: names, labels and buckets in one place."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

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


class Stage(StrEnum):
    """Where a request spends its time."""

    TOKENIZE = "tokenize"
    QUEUE = "queue"
    INFERENCE = "inference"
    SEARCH = "search"


class Metrics:
    """One registry per application, so that two applications in a process do not share counts."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "infembed_requests", "Requests by route and status code.", ["route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "infembed_request_duration_seconds", "Whole requests.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._stage_seconds = Histogram(
            "infembed_stage_duration_seconds", "Requests by stage.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self._batch_rows = Histogram("infembed_batch_inputs", "Inputs of a batch.", buckets=_SIZES, registry=registry)
        self._batch_tokens = Histogram(
            "infembed_batch_tokens",
            "Tokens of a batch, remembered instructions left out.",
            buckets=_TOKENS,
            registry=registry,
        )
        self._padding = Counter("infembed_padding_tokens", "Tokens computed for nothing: padding.", registry=registry)
        self._batch_seconds = Histogram(
            "infembed_batch_duration_seconds", "One batch on the inference thread.", buckets=_SECONDS, registry=registry
        )
        self._queued_inputs = Gauge("infembed_queue_inputs", "Inputs waiting for a batch.", registry=registry)
        self._queued_tokens = Gauge(
            "infembed_queue_tokens",
            "Tokens waiting or being computed, remembered instructions left out.",
            registry=registry,
        )
        self._dropped = Counter(
            "infembed_dropped_inputs",
            "Inputs dropped before the model: `cancelled` or `expired`.",
            ["reason"],
            registry=registry,
        )
        self._refused = Counter(
            "infembed_refused_requests",
            "Requests refused before they waited, by lane: `interactive`, `bulk` or `urgent`.",
            ["lane"],
            registry=registry,
        )
        self._rate_limited = Counter(
            "infembed_rate_limited_requests", "Requests of clients beyond their rate limit.", registry=registry
        )
        self._drain_rate = Gauge(
            "infembed_drain_tokens_per_second", "Tokens computed per second of a backlog.", registry=registry
        )
        self._instructions = Counter(
            "infembed_instruction_cache_requests",
            "Instructions of batches: `hit` or `miss`.",
            ["outcome"],
            registry=registry,
        )
        self._instruction_evictions = Counter(
            "infembed_instruction_cache_evictions", "Instructions forgotten to make room.", registry=registry
        )
        self._instructions_kept = Gauge(
            "infembed_instruction_cache_instructions", "Instructions remembered.", registry=registry
        )
        self._instruction_bytes = Gauge(
            "infembed_instruction_cache_size_bytes", "Memory of remembered instructions.", registry=registry
        )
        self._truncated = Counter("infembed_truncated_inputs", "Inputs cut to the model's length.", registry=registry)
        self._errors = Counter("infembed_errors", "Error answers by class.", ["error_type"], registry=registry)
        self._non_finite = Counter(
            "infembed_non_finite_vectors", "Vectors with NaN or infinity; never sent.", registry=registry
        )
        self._index_documents = Gauge(
            "infembed_index_documents", "Documents of a collection.", ["collection"], registry=registry
        )
        self._index_bytes = Gauge(
            "infembed_index_size_bytes", "Index files of a collection.", ["collection"], registry=registry
        )
        self._shift = Histogram(
            "infembed_instruction_query_shift_ratio",
            "1 - cosine between the query with and without its instruction, for explained searches.",
            buckets=_SHIFTS,
            registry=registry,
        )
        self._reloads = Counter(
            "infembed_reloads", "Reloads: swapped, unchanged or refused.", ["outcome"], registry=registry
        )
        self._model = Info("infembed_model", "The model being served.", registry=registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def stage(self, stage: Stage, seconds: float) -> None:
        self._stage_seconds.labels(stage.value).observe(max(0.0, seconds))

    def batch(self, *, rows: int, tokens: int, padding: int, seconds: float) -> None:
        self._batch_rows.observe(rows)
        self._batch_tokens.observe(tokens)
        self._padding.inc(padding)
        self._batch_seconds.observe(seconds)

    def queue(self, *, inputs: int, tokens: int) -> None:
        self._queued_inputs.set(inputs)
        self._queued_tokens.set(tokens)

    def dropped(self, reason: str) -> None:
        self._dropped.labels(reason).inc()

    def refused(self, lane: str) -> None:
        self._refused.labels(lane).inc()

    def rate_limited(self) -> None:
        self._rate_limited.inc()

    def drain_rate(self, tokens_per_s: float) -> None:
        self._drain_rate.set(tokens_per_s)

    def instructions(self, *, hits: int, misses: int) -> None:
        self._instructions.labels("hit").inc(hits)
        self._instructions.labels("miss").inc(misses)

    def instruction_states(self, *, instructions: int, n_bytes: int) -> None:
        self._instructions_kept.set(instructions)
        self._instruction_bytes.set(n_bytes)

    def instruction_evicted(self) -> None:
        self._instruction_evictions.inc()

    def truncated(self, n: int) -> None:
        self._truncated.inc(n)

    def error(self, error_type: str) -> None:
        self._errors.labels(error_type).inc()

    def non_finite(self) -> None:
        self._non_finite.inc()

    def collection(self, name: str, *, documents: int, size_bytes: int) -> None:
        self._index_documents.labels(name).set(documents)
        self._index_bytes.labels(name).set(size_bytes)

    def forget_collection(self, name: str) -> None:
        self._index_documents.remove(name)
        self._index_bytes.remove(name)

    def reload(self, outcome: str) -> None:
        self._reloads.labels(outcome).inc()

    def shift(self, shift: float) -> None:
        self._shift.observe(max(0.0, shift))

    def model(self, **facts: str) -> None:
        self._model.info(facts)

    def render(self) -> bytes:
        """Write everything in Prometheus text format."""
        return generate_latest(self._registry)
