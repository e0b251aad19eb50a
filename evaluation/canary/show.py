"""A canary decision as an operator reads it."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.canary.decision import CanaryDecision, ServiceSummary
from evaluation.gate import Verdict

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow"}


def show_decision(decision: CanaryDecision, console: Console) -> None:
    """Print both services in figures, every check, and the verdict last."""
    console.print(
        f"{decision.n_asked} of {decision.n_questions} questions, k {decision.k}, {decision.duration_s:.0f} s"
    )
    console.print(_table(decision))
    for check in decision.checks:
        console.print(_verdict(check.verdict), Text(f"{check.name}: {check.reason}"))
    console.print(Text("verdict:"), _verdict(decision.verdict))


def _verdict(verdict: Verdict) -> Text:
    return Text(f"{verdict:12}", style=f"bold {_COLOURS[verdict]}")


def _table(decision: CanaryDecision) -> Table:
    table = Table("", "stable", "candidate", box=None, pad_edge=False)
    rows = zip(_figures(decision.stable), _figures(decision.candidate), strict=True)
    for (label, ours), (_, theirs) in rows:
        table.add_row(label, Text(ours), Text(theirs))
    return table


def _figures(service: ServiceSummary) -> list[tuple[str, str]]:
    failed = ", ".join(f"{n} {kind}" for kind, n in sorted(service.failures.items()))
    return [
        ("service", service.url),
        ("model", f"{service.model} {service.model_sha[:12]}" if service.model_sha else "-"),
        ("collection", f"{service.collection} {service.generation}" if service.generation else "-"),
        ("documents", f"{service.documents:,}" if service.documents is not None else "-"),
        ("searches", f"{service.n_searches}"),
        ("failed", failed or "0"),
        ("told to wait", f"{service.n_waits}"),
        ("without result", f"{service.n_without_result}"),
        ("p50, p95 (ms)", f"{_number(service.p50_ms, '.1f')}, {_number(service.p95_ms, '.1f')}"),
        ("live p-MRR", _number(service.p_mrr, "+.3f")),
        ("instruction sensitivity", _number(service.instruction_sensitivity, ".2f")),
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
