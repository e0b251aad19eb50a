"""Progress of long work: a bar with rate and time left on a terminal, one line a minute elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 60.0

Report = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are (0 when unknown)."""


@contextmanager
def show_progress(console: Console, *, unit: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Yield a function that reports progress to `console`."""
    if console.is_terminal:
        with _bar(console, unit) as report:
            yield report
    else:
        yield _lines(console, unit, clock)


@contextmanager
def _bar(console: Console, unit: str) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, int] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total or None, rate="")
            task = progress.tasks[tasks[what]]
            rate = f"{_number(task.speed)} {unit}/s" if task.speed else ""
            progress.update(task.id, completed=done, total=total or None, rate=rate)

        yield report


def _lines(console: Console, unit: str, clock: Callable[[], float]) -> Report:
    started: dict[str, tuple[float, int]] = {}
    last = -LINE_EVERY_S

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        now = clock()
        since, before = started.setdefault(what, (now, done))
        is_edge = (now, done) == (since, before) or done == total
        if not is_edge and now - last < LINE_EVERY_S:
            return
        last = now
        elapsed = now - since
        line = f"{what}: {done:,} of {total:,} {unit}" if total else f"{what}: {done:,} {unit}"
        if elapsed > 1 and done > before:
            rate = (done - before) / elapsed
            line += f", {_number(rate)} {unit}/s, {elapsed:,.0f} s so far"
            line += f", about {(total - done) / rate:,.0f} s left" if total else ""
        console.print(line, highlight=False, soft_wrap=True, markup=False, emoji=False)

    return report


def _number(rate: float) -> str:
    """Write a rate; slow work has one decimal, so that it does not read as standing still."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
