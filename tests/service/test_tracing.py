"""Traces: one span a request with its stages below, nothing at all where they are off."""

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from infembed.errors import BadConfigError
from service.settings import Settings
from service.tracing import Tracing, open_tracing
from tests.service.app import make_client

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{}"


def _spans(
    bundle: Path, body: object, *, headers: dict[str, str] | None = None, ratio: float = 1.0
) -> list[ReadableSpan]:
    """Search once; returns the finished spans, the request's last."""
    exporter = InMemorySpanExporter()
    client, _, _ = make_client(bundle, tracing=Tracing(SimpleSpanProcessor(exporter), sample_ratio=ratio))
    with client:
        client.post("/search", json=body, headers=headers)
    return list(exporter.get_finished_spans())


def test_a_search_is_a_span_with_its_stages_in_order_inside_it(tiny_bundle: Path) -> None:
    *stages, request = _spans(tiny_bundle, {"query": "bread"})
    assert request.name == "POST /search"
    assert [span.name for span in stages] == ["tokenize", "queue", "model", "search"]
    assert request.start_time is not None
    at = request.start_time
    for span in stages:
        assert span.parent is not None
        assert request.context is not None
        assert span.parent.span_id == request.context.span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert at <= span.start_time < span.end_time
        at = span.end_time
    assert request.end_time is not None
    assert at <= request.end_time
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["infembed.tokens"] == 3


def test_the_services_name_is_ours_unless_opentelemetrys_variable_says_otherwise(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [_spans(tiny_bundle, {"query": "bread"})[-1].resource.attributes["service.name"]]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bread-search")
    names.append(_spans(tiny_bundle, {"query": "bread"})[-1].resource.attributes["service.name"])
    assert names == ["infembed", "bread-search"]


def test_a_span_tells_nothing_of_what_was_asked(tiny_bundle: Path) -> None:
    spans = _spans(tiny_bundle, {"query": "zanzibar"})
    assert "zanzibar" not in "".join(span.to_json() for span in spans)


def test_a_callers_trace_is_continued_and_its_choice_not_to_sample_kept(tiny_bundle: Path) -> None:
    *_, request = _spans(tiny_bundle, {"query": "bread"}, headers={"traceparent": PARENT.format("01")}, ratio=0.0)
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert _spans(tiny_bundle, {"query": "bread"}, headers={"traceparent": PARENT.format("00")}) == []


def test_no_trace_is_begun_at_a_ratio_of_zero(tiny_bundle: Path) -> None:
    assert _spans(tiny_bundle, {"query": "bread"}, ratio=0.0) == []


def test_a_refused_request_is_a_span_without_stages(tiny_bundle: Path) -> None:
    (request,) = _spans(tiny_bundle, {"query": ""})
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 400


def test_traces_are_off_unless_an_endpoint_is_configured() -> None:
    assert open_tracing(Settings()) is None


def test_an_endpoint_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(BadConfigError, match=r"pip install 'inf-embed\[tracing\]'"):
        open_tracing(Settings(traces_endpoint="http://localhost:4318/v1/traces"))


def test_an_exporter_is_made_for_the_endpoint() -> None:
    tracing = open_tracing(Settings(traces_endpoint="http://127.0.0.1:9/v1/traces"))
    assert tracing is not None
    tracing.close()


def test_the_library_is_not_loaded_while_traces_are_off() -> None:
    code = (
        "import service.app, service.cli, service.settings, service.tracing as t, sys;"
        "t.open_tracing(service.settings.Settings()); sys.exit('opentelemetry.sdk' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
