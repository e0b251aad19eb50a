"""The HTTP server around the application: a socket of ours, a drained end, reloads by signal."""

import asyncio
import errno
import logging
import math
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from infembed.errors import BadConfigError
from service import garbage
from service.loading import Loaded
from service.protocol import BoundedProtocol, Limits, Places
from service.settings import Settings
from service.tls import certificate_of

_log = logging.getLogger(__name__)
_BACKLOG = 2048
_OTHER_FILES = 256
"""Model, index, logs: what is open besides connections."""
_KEEP_ALIVE_S = 75
"""Longer than clients and balancers keep an idle connection (httpx 5 s, aiohttp 15 s, nginx and AWS 60 s): the one that
sends must be the first to close, or a request meets a closed connection, which a balancer makes a 502."""


def listen(host: str, port: int) -> socket.socket:
    """Bind the port before anything heavy is loaded; a port in use is one sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise BadConfigError(f"port {port} on {host} is in use; choose another with --port") from error
        raise BadConfigError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


class _Server(uvicorn.Server):
    """Answers while the model loads, turns unready as soon as it is told to stop, and reloads on SIGHUP."""

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, settings: Settings, *, on_ready: Callable[[Loaded], None]
    ) -> None:
        super().__init__(config)
        self.failure: Exception | None = None
        self._application = app
        self._settings = settings
        self._on_ready = on_ready
        self._stops_at = math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._watching = asyncio.create_task(self._watch_start())

    async def _watch_start(self) -> None:
        """Wait for the model; if it cannot be loaded, there is nothing to go on for."""
        releases = self._application.state.releases
        try:
            await releases.started
            garbage.set_aside()
            if not self._application.state.life.is_draining:
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
                self._on_ready(releases.current.loaded)
        except Exception as error:  # noqa: BLE001 - `run` raises it where the process ends
            self.failure = error
            self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        is_first = not self._application.state.life.is_draining
        self._application.state.life.is_draining = True
        if is_first and self.started and self._settings.shutdown_delay_s:
            self._stops_at = time.monotonic() + self._settings.shutdown_delay_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or time.monotonic() >= self._stops_at
        return await super().on_tick(counter)

    def _hang_up(self) -> None:
        certificate = certificate_of(self._settings)
        if certificate is not None and self.config.ssl is not None:
            try:
                certificate.renew(self.config.ssl)
            except BadConfigError as error:
                _log.error("the certificate was not renewed", exc_info=error)
        self._application.state.releases.reload_soon()


def run(app: FastAPI, listener: socket.socket, settings: Settings, *, on_ready: Callable[[Loaded], None]) -> None:
    """Serve until SIGTERM or SIGINT, running requests get time to finish; raises what kept the model from loading.

    The port answers at once; until the model is loaded and has run, all work is refused with 503.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(  # type: ignore[arg-type]  # a class with its limits filled in
            BoundedProtocol,
            limits=Limits(max_connections=settings.max_connections, head_timeout_s=settings.body_timeout_s),
            places=Places({}, set()),
        ),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    _allow_files(2 * settings.max_connections + _OTHER_FILES)
    server = _Server(config, app, settings, on_ready=on_ready)
    with _own_signals():
        server.run(sockets=[listener])
        if server.failure is not None:
            raise server.failure


def _allow_files(n: int) -> None:
    """Raise what this process may open, as far as it may itself: a shell's or systemd's 1,024 are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < n:
        _log.warning(
            "only %d files may be open, %d are wanted for INFEMBED_MAX_CONNECTIONS; raise the limit (ulimit -Hn)",
            wanted,
            n,
        )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep signals from ending the process in their own way; one that fails gets them back.

    uvicorn repeats the signal to the handlers it found once everything is drained; an ordered end is no failure. There
    is nothing to reload until the model is loaded.
    """
    before = {sig: signal.signal(sig, lambda *_: None) for sig in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except BaseException:
        for sig, handler in before.items():
            signal.signal(sig, handler)
        raise
