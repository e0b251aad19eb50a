"""Comparisons within rounds: every case once a round, so that a change of the machine's mood hits both sides."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from benchmarks.wrk import Load


class Key(NamedTuple):
    """What is measured: a workload and who does it."""

    workload: str
    name: str

    def __str__(self) -> str:
        return f"{self.workload}: {self.name}"


class Case(NamedTuple):
    """A key and how it is measured once."""

    key: Key
    run: Callable[[], Load]


Round = Mapping[Key, Load]


class Measure(StrEnum):
    """How two loads of a round are compared."""

    RATE = "times the rate"
    EXTRA = "ms more at p50"


class Target(NamedTuple):
    """What one case must reach beside another of the same workload."""

    workload: str
    ours: str
    other: str
    measure: Measure
    bound: float

    def found(self, rounds: Iterable[Round]) -> list[float]:
        """Compare round by round; empty where one of both was not measured."""
        keys = Key(self.workload, self.ours), Key(self.workload, self.other)
        pairs = [(one[keys[0]], one[keys[1]]) for one in rounds if one.keys() >= set(keys)]
        if self.measure is Measure.RATE:
            return [ours.per_s / other.per_s for ours, other in pairs]
        return [ours.p50_ms - other.p50_ms for ours, other in pairs]

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.measure is Measure.RATE else value <= self.bound


def run_rounds(cases: Sequence[Case], n: int) -> list[Round]:
    """Measure every case once a round, every other round backwards."""
    return [_run_round(cases[:: (1, -1)[number % 2]], f"{number + 1}/{n}") for number in range(n)]


def _run_round(cases: Iterable[Case], label: str) -> Round:
    found = {}
    for case in cases:
        load = found[case.key] = case.run()
        print(f"round {label}: {case.key}: {load.per_s:.1f}/s, p50 {load.p50_ms:.1f} ms", file=sys.stderr)
    return found


def table(rounds: Sequence[Round]) -> str:
    """Write what was measured, in the order of the first round; rates are also divided by the workload's first."""
    lines = [
        "| workload | who | p50 ms | p99 ms | per second (lowest to highest round) | times the first |",
        "|---|---|---:|---:|---:|---:|",
    ]
    firsts: dict[str, Key] = {}
    for key in rounds[0]:
        first = firsts.setdefault(key.workload, key)
        loads = [one[key] for one in rounds]
        p50, p99 = median(load.p50_ms for load in loads), median(load.p99_ms for load in loads)
        rates = spread([load.per_s for load in loads])
        ratios = spread([one[key].per_s / one[first].per_s for one in rounds], digits=2)
        lines.append(f"| {key.workload} | {key.name} | {p50:.1f} | {p99:.1f} | {rates} | {ratios} |")
    return "\n".join(lines)


def target_table(targets: Iterable[Target], rounds: Sequence[Round]) -> str:
    """Write the targets of what was measured, and whether they are met."""
    lines = ["| workload | ours | beside | target | median (lowest to highest round) | |", "|---|---|---|---|---:|---|"]
    for target in targets:
        if found := target.found(rounds):
            bound = f"{'at least' if target.measure is Measure.RATE else 'at most'} {target.bound:g} {target.measure}"
            verdict = "met" if target.is_met(median(found)) else "**missed**"
            sides = f"{target.workload} | {target.ours} | {target.other}"
            lines.append(f"| {sides} | {bound} | {spread(found, digits=2)} | {verdict} |")
    return "\n".join(lines)


def spread(values: Sequence[float], *, digits: int = 1) -> str:
    """Write the median, and the lowest and highest."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
