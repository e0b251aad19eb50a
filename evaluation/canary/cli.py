"""`infembed canary`: ask two running services the same questions and judge the candidate."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from evaluation.canary.decision import CanaryDecision
    from evaluation.canary.policy import CanaryPolicy
    from evaluation.canary.run import Plan
    from evaluation.gate import Decision


def canary(  # noqa: PLR0917 - the options of a command, given by name
    stable: Annotated[str, typer.Option(help="Address of the service in production, like http://host:8080.")],
    candidate: Annotated[str, typer.Option(help="Address of the service to judge.")],
    queries: Annotated[Path, typer.Option(help="JSONL of shadow queries and probe pairs (docs/canary.md).")],
    policy: Annotated[Path | None, typer.Option(help="TOML of bounds; default: those of configs/canary.toml.")] = None,
    gate: Annotated[
        Path | None, typer.Option("--decision", help="The gate's decision (JSON): its two bundles must be served.")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="Collection to search; default: the services' own.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="Documents compared per query.")] = 10,
    rate: Annotated[
        float,
        typer.Option(min=0.01, max=1000, help="Questions per second; each is one search per service, a probe two."),
    ] = 10.0,
    time_limit_s: Annotated[float, typer.Option("--time-limit", min=1, max=86_400, help="Seconds of asking.")] = 300.0,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.1, max=600, help="Seconds one answer may take.")
    ] = 10.0,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="INFEMBED_API_KEY", help="Key of both services; better in the environment.", show_envvar=True
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as one JSON object.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the decision as JSON to this file.")] = None,
) -> None:
    """Compare a candidate service with the stable one: exit 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 unusable input."""
    from evaluation.canary.run import Plan

    bounds = _policy(policy)
    plan = Plan(k=k, probe_depth=bounds.probe_depth, rate=rate, time_limit_s=time_limit_s, collection=collection)
    judged = None if gate is None else _gate(gate)
    decision = _decide(stable, candidate, queries, plan, bounds, gate=judged, timeout_s=timeout_s, api_key=api_key)
    if out is not None:
        _write(decision, out)
    if as_json:
        typer.echo(json.dumps(decision.model_dump(mode="json"), ensure_ascii=False))
    else:
        from evaluation.canary.show import show_decision

        show_decision(decision, Console(highlight=False, soft_wrap=True))
    raise typer.Exit(decision.verdict.exit_code)


def _policy(path: Path | None) -> "CanaryPolicy":
    from evaluation.canary.policy import CanaryPolicy

    return CanaryPolicy() if path is None else CanaryPolicy.from_toml(path)


def _gate(path: Path) -> "Decision":
    from evaluation.gate import Decision
    from infembed.config import parse_json
    from infembed.errors import MissingArtefactError

    if not path.is_file():
        raise MissingArtefactError(f"no decision at {path}; make one with `infembed gate`")
    return parse_json(Decision, path)


def _decide(
    stable: str,
    candidate: str,
    queries: Path,
    plan: "Plan",
    policy: "CanaryPolicy",
    *,
    gate: "Decision | None",
    timeout_s: float,
    api_key: str | None,
) -> "CanaryDecision":
    from datetime import UTC, datetime

    from evaluation.canary.client import ServiceClient
    from evaluation.canary.judging import judge
    from evaluation.canary.questions import read_questions
    from evaluation.canary.run import observe
    from infembed.progress import show_progress

    file = read_questions(queries)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with (
        ServiceClient(stable, timeout_s=timeout_s, api_key=api_key) as ours,
        ServiceClient(candidate, timeout_s=timeout_s, api_key=api_key) as theirs,
        show_progress(Console(stderr=True), unit="questions") as progress,
    ):
        return judge(observe(ours, theirs, file, plan, started_at=now, progress=progress), policy, gate)


def _write(decision: "CanaryDecision", out: Path) -> None:
    from infembed.artefacts import write_atomically

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, (decision.model_dump_json(indent=1) + "\n").encode())
