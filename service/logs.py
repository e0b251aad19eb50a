"""The log: one event, one line, fields not prose; never a text, a key or a vector unless the operator asked for it."""

import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType

import orjson

from infembed.errors import InfEmbedError
from service.keys import KEY_PATTERN, KEY_PREFIX
from service.settings import Settings
from service.shell import Finished

_requests = logging.getLogger("infembed.request")
_QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics"})
_LONGEST_TEXT = 4000
_WITHHELD = "withheld, it may quote a request; INFEMBED_LOG_TEXTS shows it"
_FRAMES = 12


def configure_logging(settings: Settings) -> None:
    """Send every logger's lines to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(as_json=settings.log_format == "json", with_texts=settings.log_texts))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))


class LineFormatter(logging.Formatter):
    """Writes a record and its `fields` as one line of JSON, or as text that reads the same."""

    def __init__(self, *, as_json: bool, with_texts: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self._with_texts = with_texts

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, object] = getattr(record, "fields", {})
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields,
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= self._explain(record.exc_info[1], record.exc_info[2])
        text = orjson.dumps(line, default=str).decode() if self._as_json else _as_text(line)
        return KEY_PATTERN.sub(f"{KEY_PREFIX}...", text) if KEY_PREFIX in text else text

    def _explain(self, error: BaseException, trace: TracebackType | None) -> dict[str, object]:
        frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)[-_FRAMES:]]
        message = str(error) if self._with_texts or _quotes_nothing(error) else _WITHHELD
        return {"error": type(error).__qualname__, "error_message": message, "frames": frames}


class RequestLog:
    """Writes one line for each finished request."""

    def __init__(self, *, with_texts: bool = False) -> None:
        self._with_texts = with_texts

    def __call__(self, request: Finished) -> None:
        level = logging.DEBUG if request.route in _QUIET_ROUTES and request.status < 400 else logging.INFO
        if not _requests.isEnabledFor(level):
            return
        fields: dict[str, object] = {
            "method": request.method,
            "route": request.route,
            "status": request.status,
            "ms": round(request.seconds * 1000, 3),
            "request_id": request.request_id,
        }
        if (tokens := request.answer_header(b"x-compute-tokens")) is not None:
            fields["tokens"] = int(tokens)
        if request.key is not None:
            fields["key"] = request.key
        if request.trace_id is not None:
            fields["trace_id"] = request.trace_id
        if self._with_texts:
            fields["body"] = request.body[:_LONGEST_TEXT].decode(errors="replace")
        _requests.log(level, "request", extra={"fields": fields})


def announce(settings: Settings) -> None:
    """Say at start who may use the service, and whether texts are logged."""
    log = logging.getLogger(__name__)
    if settings.keys:
        log.info("API keys are needed", extra={"fields": {"keys": sorted(settings.keys)}})
    else:
        log.warning(
            "no API keys are configured: whoever reaches the port may use the service (docs/security.md)",
            extra={"fields": {"host": settings.host}},
        )
    if settings.log_texts:
        log.warning("request bodies are written to this log, because INFEMBED_LOG_TEXTS is set")


def _quotes_nothing(error: BaseException) -> bool:
    """Whether an error's message says what failed without quoting a request: ours, the system's, ONNX Runtime's."""
    return isinstance(error, InfEmbedError | OSError | MemoryError) or type(error).__module__.startswith("onnxruntime")


def _as_text(line: dict[str, object]) -> str:
    head = f"{line.pop('time')} {str(line.pop('level')).upper()} {line.pop('logger')} {line.pop('event')}"
    written = " ".join(f"{name}={_quoted(value)}" for name, value in line.items())
    return f"{head} {written}".rstrip().replace("\n", "\\n")


def _quoted(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else orjson.dumps(value, default=str).decode()
