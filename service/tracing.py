"""OpenTelemetry traces (extra `tracing`): one trace a request, with the time of each stage as spans below it.

Spans are made once a request has ended, from the timings that its answer carries in headers anyway. So the path that a
text takes knows nothing of traces, and without a configured endpoint they cost nothing. The lengths of the stages are
measured; they are laid end to end before the moment the answer began, which leaves out the milliseconds of writing it.
"""

from typing import TYPE_CHECKING

from infembed import version
from infembed.errors import BadConfigError
from service.settings import Settings
from service.shell import Finished

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_STAGES = (
    ("tokenize", b"x-tokenization-time"),
    ("queue", b"x-queue-time"),
    ("model", b"x-inference-time"),
    ("search", b"x-search-time"),
)
_NS = 1_000_000_000


class Tracing:
    """Turns finished requests into spans; `traceparent` of the caller is continued."""

    def __init__(self, processor: "SpanProcessor", *, sample_ratio: float = 1.0) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = Resource({"service.name": "infembed", "service.version": version()})
        self._provider = TracerProvider(
            resource=named.merge(OTELResourceDetector().detect()),
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("infembed")
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, request: Finished) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        headers = dict(request.scope["headers"])
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        began_ns = int(request.started_at * _NS)
        span = self._tracer.start_span(
            f"{request.method} {request.route}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            start_time=began_ns,
            attributes=_attributes(request),
        )
        request.scope["state"]["trace_id"] = f"{span.get_span_context().trace_id:032x}"
        if span.is_recording():
            self._add_stages(request, began_ns, set_span_in_context(span))
            if request.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=began_ns + int(request.seconds * _NS))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _add_stages(self, request: Finished, began_ns: int, parent: object) -> None:
        lengths = {name: _header_ns(request, header) for name, header in _STAGES}
        at = max(began_ns, began_ns + int(request.began_s * _NS) - sum(lengths.values()))
        for name, length in lengths.items():
            if length:
                self._tracer.start_span(name, context=parent, start_time=at).end(end_time=at + length)  # type: ignore[arg-type]
            at += length


def open_tracing(settings: Settings) -> Tracing | None:
    """Start exporting where an endpoint is configured."""
    if settings.traces_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise BadConfigError(
            f"INFEMBED_TRACES_ENDPOINT is set, but {error.name} is not installed; pip install 'inf-embed[tracing]'"
        ) from error
    exporter = OTLPSpanExporter(endpoint=settings.traces_endpoint)
    return Tracing(BatchSpanProcessor(exporter), sample_ratio=settings.traces_sample_ratio)


def _attributes(request: Finished) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "http.route": request.route,
        "http.response.status_code": request.status,
        "infembed.request_id": request.request_id,
    }
    if request.key is not None:
        attributes["infembed.key"] = request.key
    if (tokens := request.answer_header(b"x-compute-tokens")) is not None:
        attributes["infembed.tokens"] = int(tokens)
    return attributes


def _header_ns(request: Finished, header: bytes) -> int:
    return int(float(request.answer_header(header) or 0) * 1_000_000)
