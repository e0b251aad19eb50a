"""Releases: a model, its collections and the routes that answer from them, swapped as one while requests run.

A request stays with the release that was current when it came, so a search never meets another model's index. The old
release ends when its last request has: then its queue is drained, its collections are closed, its memory is freed.
"""

import asyncio
import ctypes
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar, cast

from fastapi import APIRouter
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from infembed import version
from infembed.errors import InfEmbedError, RefusedReloadError, UnavailableError
from service import garbage
from service.collections import Catalogue, close_collections
from service.loading import Load, Loaded
from service.metrics import Metrics, Outcome
from service.pipeline import Pipeline
from service.queue import STILL_LOADING
from service.routes import table_of

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Reloaded(NamedTuple):
    """What a reload found, and what is served after it."""

    outcome: Outcome
    model: str
    digest: str
    collections: dict[str, str]


class Severable:
    """Stands for an object until it is cut off from it.

    FastAPI keeps the functions behind routes in caches of its own for as long as the process lives, and with them all
    they refer to. So routes get the pipeline and the catalogue through this, and an ended release cuts them off.
    """

    def __init__(self, target: object) -> None:
        self._target: Any = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._target)

    def sever(self) -> None:
        self._target = None


class Release:
    """What answers requests; `make_routes` makes all routes that need a model.

    `probe_shift` is how far a fixed instruction moves a fixed query.
    """

    def __init__(
        self,
        loaded: Loaded,
        pipeline: Pipeline,
        catalogue: Catalogue,
        make_routes: Callable[[Pipeline, Catalogue], list[BaseRoute]],
        *,
        probe_shift: float,
    ) -> None:
        self.loaded = loaded
        self.probe_shift = probe_shift
        self.pipeline = pipeline
        self._links = Severable(pipeline), Severable(catalogue)
        self.routes = make_routes(cast("Pipeline", self._links[0]), cast("Catalogue", self._links[1]))
        self.table = table_of(self.routes)
        self._router = APIRouter(routes=self.routes)
        self._n_running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever its path."""
        with self.serving():
            await self._router(scope, receive, send)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a request, so that the release outlives it."""
        self._n_running += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._n_running -= 1
            if not self._n_running:
                self._is_idle.set()

    async def end(self, *, successor: "Release | None") -> None:
        """Wait for the last request, then give back whatever the successor does not use."""
        await self._is_idle.wait()
        if successor is None or self.pipeline is not successor.pipeline:
            await self.pipeline.drain()
        kept = successor.loaded.collections if successor else ()
        await asyncio.to_thread(close_collections, self.loaded.collections, but=kept)
        for link in self._links:
            link.sever()

    def describe(self, outcome: Outcome) -> Reloaded:
        """Say what is served."""
        bundle = self.loaded.encoder.bundle
        generations = {collection.name: collection.generation for collection in self.loaded.collections}
        return Reloaded(outcome, bundle.manifest.name, bundle.digest, generations)


Make = Callable[[Loaded, Release | None], Release]
"""Builds a release; one with the same model as the given one shares its pipeline."""


class Releases:
    """The current release, as an ASGI application, and the only way to another; without `first` it is to load."""

    started: "asyncio.Task[None]"

    def __init__(self, first: Loaded | None, *, load: Load, make: Make, metrics: Metrics) -> None:
        self._current = make(first, None) if first else None
        self._load = load
        self._make = make
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        if self._current is not None:
            self._show(self._current)

    @property
    def loaded(self) -> Release | None:
        """What answers requests now; None until the first model is loaded."""
        return self._current

    @property
    def current(self) -> Release:
        """What answers requests now; UnavailableError until the first model is loaded."""
        if self._current is None:
            raise UnavailableError(STILL_LOADING, retry_after_s=1.0)
        return self._current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.current(scope, receive, send)

    def start(self) -> "asyncio.Task[None]":
        """Begin to load the first release if there is none, and to run its model before the first request."""
        self.started = self._begin(self._start())
        return self.started

    async def reload(self) -> Reloaded:
        """Load what the settings name now and swap to it; RefusedReloadError: nothing was changed.

        Returns once new requests go to the new release. The old one then ends on its own; until it has, the next
        reload waits, so that there are never more than two models in memory. A caller that goes away stops nothing.
        """
        return await asyncio.shield(self._begin(self._reload()))

    def reload_soon(self) -> None:
        """Reload without waiting, as a signal asks; the log tells what came of it."""
        self._begin(self._reload_quietly())

    async def close(self) -> None:
        """End the current release; one that is still loading or ending comes to its end first."""
        async with self._lock:
            if self._current is not None:
                await self._current.end(successor=None)

    async def _start(self) -> None:
        async with self._lock:
            if self._current is not None:
                await self._current.pipeline.warm_up()
                return
            loaded = await asyncio.to_thread(self._load, None)
            self._current = await self._build(loaded, None)
            self._show(self._current)

    async def _reload(self) -> Reloaded:
        await self._lock.acquire()
        try:
            old = self.current
            new = await self._prepare(old)
        except BaseException:
            self._lock.release()
            raise
        if new is None:
            self._lock.release()
            self._metrics.reload(Outcome.UNCHANGED)
            _log.info("nothing to reload: bundle and index are the ones being served")
            return old.describe(Outcome.UNCHANGED)
        self._current = new
        self._begin(self._end(old, new))
        self._tell(old, new)
        return new.describe(Outcome.SWAPPED)

    async def _prepare(self, old: Release) -> Release | None:
        """Load, build and warm up the next release; None: nothing has changed."""
        try:
            loaded = await asyncio.to_thread(self._load, old.loaded)
            if _is_same(loaded, old.loaded):
                return None
            new = await self._build(loaded, old)
        except Exception as error:
            self._metrics.reload_refused()
            _log.error("a reload was refused", exc_info=error)
            reason = str(error) if isinstance(error, InfEmbedError) else "it failed unexpectedly; the log says how"
            raise RefusedReloadError(f"nothing was changed: {reason}") from error
        return new

    async def _build(self, loaded: Loaded, old: Release | None) -> Release:
        try:
            new = await asyncio.to_thread(self._make, loaded, old)
        except BaseException:
            close_collections(loaded.collections, but=old.loaded.collections if old else ())
            raise
        try:
            if old is None or new.pipeline is not old.pipeline:
                await new.pipeline.warm_up()
        except BaseException:
            await new.end(successor=old)
            raise
        return new

    async def _end(self, old: Release, new: Release) -> None:
        is_model_gone = old.pipeline is not new.pipeline
        try:
            await old.end(successor=new)
        except Exception:  # noqa: BLE001 - the new release serves already; the next reload must not wait for ever
            _log.exception("the old release did not end well")
        try:
            del old
            if is_model_gone:
                await asyncio.to_thread(_free_memory)
        finally:
            self._lock.release()

    async def _reload_quietly(self) -> None:
        with suppress(RefusedReloadError):  # logged where it was refused
            await self._reload()

    def _show(self, release: Release) -> None:
        bundle = release.loaded.encoder.bundle
        manifest = bundle.manifest
        self._metrics.model(
            name=manifest.name,
            fusion=manifest.fusion,
            digest=bundle.digest,
            version=version(),
            probe_shift=release.probe_shift,
        )
        for collection in release.loaded.collections:
            self._metrics.collection(
                collection.name,
                documents=collection.n_documents,
                size_bytes=collection.size_bytes,
                built_at=collection.built_at,
            )

    def _begin(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Start a task that nobody need hold on to."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it, or went away; either way it was logged

    def _tell(self, old: Release, new: Release) -> None:
        self._metrics.reload(Outcome.SWAPPED)
        self._show(new)
        gone = {c.name for c in old.loaded.collections} - {c.name for c in new.loaded.collections}
        for name in gone:
            self._metrics.forget_collection(name)
        facts = new.describe(Outcome.SWAPPED)
        _log.info("reloaded", extra={"fields": {"model": facts.model, "collections": facts.collections}})


def _is_same(new: Loaded, old: Loaded) -> bool:
    return new.encoder is old.encoder and list(map(id, new.collections)) == list(map(id, old.collections))


def _free_memory() -> None:
    """Collect what refers to itself in circles, and hand free pages back to the system."""
    garbage.collect()
    with suppress(OSError, AttributeError):  # a C library without it keeps the pages for later
        ctypes.CDLL(None).malloc_trim(0)
