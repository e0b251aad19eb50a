"""The service's settings. `service.configuration` reads them; nothing here looks at the environment or a file."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from infembed.bundle import Precision
from infembed.config import Config
from infembed.execution import Footprint, Provider
from service.keys import StoredKey, is_key_name

_ORIGIN = re.compile(r"\*|https?://[^/\s?#@]+")


def _split(value: object) -> object:
    """Environment variables hold lists separated by commas."""
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else value


class Settings(Config):
    """Everything an operator can set: `INFEMBED_<NAME>` in the environment, `name` in the file."""

    bundle: Path = Field(default=Path(".cache/bundle"), description="Directory of the model bundle.")
    bundle_public_key: Path | None = Field(
        default=None,
        description="Public key that must have signed the bundle (`<bundle>.sig` beside it), or the service does not "
        "start; needs the extra `signing`. Unset: signatures are not looked at.",
    )
    precision: Precision = Field(
        default=Precision.FP32,
        description="Number format of the model: `int8` answers about twice as fast on the CPU and moves vectors "
        "slightly (docs/export.md); the bundle must have it.",
    )
    collections: Path | None = Field(
        default=None, description="Directory whose sub-directories are collections; unset: only embeddings are served."
    )
    default_collection: str | None = Field(
        default=None, description="Searched when a request names none; unset: the only one there is."
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    tls_cert: Path | None = Field(
        default=None,
        description="PEM file with the certificate and its chain; the service then speaks HTTPS only. Read again on "
        "SIGHUP, so a renewal needs no restart.",
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's key, without a password.")
    keys: dict[str, StoredKey] = Field(
        default={},
        description="API keys by name, hashed; `infembed keys create` makes the line. Unset: whoever reaches the port "
        "may use it. In the environment: the same as JSON.",
    )
    open_health: bool = Field(default=True, description="Whether /health and /ready answer without a key.")
    open_metrics: bool = Field(default=False, description="Whether /metrics answers without a key.")
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        default=(),
        description="Origins whose pages may call the service (`https://app.example`, separated by commas; `*` is "
        "all). Unset: only pages that the service itself serves.",
    )
    threads: int | None = Field(
        default=None, ge=1, le=512, description="Threads of the model; unset: the processors this process may use."
    )
    runs: int | None = Field(
        default=None,
        ge=1,
        le=512,
        description="On `cpu`: batches that run side by side and share the threads; one that is alone has all of them. "
        "Unset: a thread for each, but 8 at most. 1 runs one after the other: slower under load "
        "(docs/serving_runtime.md), with less memory.",
    )
    provider: Provider = Field(
        default=Provider.CPU,
        description="What runs the model: `cpu`, `cuda` or `tensorrt`; the last two need onnxruntime-gpu, and where it "
        "does not start the service does not either.",
    )
    footprint: Footprint = Field(
        default=Footprint.SMALL,
        description="On `cpu`: `small` holds the weights as few times as possible, `fast` gives documents and "
        "instructions sessions of their own (docs/serving_runtime.md).",
    )
    max_batch_tokens: int | None = Field(
        default=None,
        ge=64,
        description="Padded tokens of one batch (rows x longest). Unset: 512 for each of its threads up to 4096, on a "
        "GPU 4096. Raising it lets a batch take longer: more throughput where the device is not full, more latency "
        "where it is.",
    )
    max_queued_tokens: int = Field(
        default=262_144,
        ge=64,
        description="Tokens that may wait, bulk requests not counted. Raising it turns refusals (429) into longer "
        "waits.",
    )
    bulk_inputs: int = Field(
        default=8,
        ge=1,
        description="A request of more inputs is bulk: it waits in a lane of its own that gets at most a quarter of "
        "the model while other requests wait. Raising it lets larger requests delay single queries.",
    )
    max_bulk_tokens: int = Field(
        default=262_144,
        ge=64,
        description="Tokens of bulk requests that may wait. Raising it turns their refusals (429) into longer waits.",
    )
    client_tokens_per_s: int | None = Field(
        default=None,
        ge=1,
        description="Tokens that one client (its API key, or its address) may send per second, 10 seconds' worth at "
        "once; more is a 429. Unset: no limit.",
    )
    instruction_cache_bytes: int = Field(
        default=67_108_864,
        ge=0,
        description="Memory of remembered instructions; 64 MiB hold 60 of 60 tokens for the default model. Raising "
        "it lets more different instructions be in use without being computed again; 0 remembers none.",
    )
    max_connections: int = Field(
        default=1024,
        ge=1,
        description="Connections that may be open; one more takes the place of the one that has been idle longest, or "
        "gets 503 if none is. Raising it costs memory for each.",
    )
    max_client_batch: int = Field(default=2048, ge=1, description="Inputs of one request; more are refused.")
    max_body_bytes: int = Field(default=8_388_608, ge=1024, description="Size of a request body; more is a 413.")
    max_k: int = Field(default=1000, ge=1, le=16_384, description="Largest k + offset of a search.")
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="A request that takes longer is dropped with 504; one that could not be done in time even alone "
        "is a 422. A client may ask for less with the header `x-request-timeout-ms`.",
    )
    body_timeout_s: float = Field(
        default=20.0,
        gt=0,
        le=600,
        description="Time a client may take to send its headers, and then its body; and to take each 64 KB of an "
        "answer.",
    )
    drain_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="On SIGTERM, time that running requests get to finish."
    )
    shutdown_delay_s: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="On SIGTERM, time to go on serving while /ready says no, so that load balancers look away first.",
    )
    ready_within_s: float = Field(
        default=10.0, gt=0, le=600, description="Readiness needs a forward pass no older than this."
    )
    effect_sample_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of searches with an instruction whose effect is measured for /metrics though the client did "
        "not ask with `explain`. Raising it costs such a search the plain query as well, and shows a change sooner.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log level; at debug, health checks are logged too."
    )
    log_format: Literal["json", "text"] = Field(default="json", description="How a line of the log is written.")
    log_texts: bool = Field(
        default=False,
        description="Log request bodies and the messages of unexpected errors: for a hunt on a machine of your own.",
    )
    traces_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="Where spans go, as OTLP over HTTP (`http://collector:4318/v1/traces`); needs the extra `tracing`. "
        "Unset: no traces.",
    )
    traces_sample_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Share of traces begun here that are kept; a caller's own choice wins."
    )

    @field_validator("keys")
    @classmethod
    def _names_are_plain(cls, keys: dict[str, StoredKey]) -> dict[str, StoredKey]:
        if not all(map(is_key_name, keys)):
            raise ValueError("the name of a key is 1 to 64 letters, digits, - and _")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin[:60]!r} is no origin; write https://host or https://host:port, no path")
        return origins

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both, or neither")
        return self
