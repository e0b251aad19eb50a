"""`infembed train` and `infembed average`."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from infembed.terminal import plain_console


def train(  # noqa: PLR0917 - the options of a command, given by name
    config: Annotated[Path, typer.Argument(help="The run (TOML; see configs/train-*.toml and docs/training.md).")],
    out: Annotated[Path | None, typer.Option(help="The run's directory; default: .cache/runs/NAME.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps; overrides the file.")] = None,
    cache: Annotated[Path, typer.Option(help="Where vectors of frozen documents are kept between runs.")] = Path(
        ".cache/training"
    ),
    tracking: Annotated[
        str | None, typer.Option(help="MLflow server or `sqlite:///FILE`; default: mlflow.db beside the run.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Train a model; interrupted, it goes on from its last checkpoint to the same loss curve."""
    from infembed.progress import show_progress
    from training.config import TrainConfig
    from training.run import train as run
    from training.tracking import Tracking

    wanted = TrainConfig.from_toml(config)
    if max_steps is not None:
        wanted = wanted.model_copy(update={"steps": wanted.steps.model_copy(update={"max_steps": max_steps})})
    directory = out or Path(".cache/runs") / wanted.name
    directory.parent.mkdir(parents=True, exist_ok=True)
    where = tracking or f"sqlite:///{directory.parent.resolve()}/mlflow.db"
    console = plain_console(stderr=as_json)
    is_first = os.environ.get("RANK", "0") == "0"  # torchrun's
    console.quiet = not is_first
    with show_progress(console, unit="steps") as report:
        trained = run(wanted, directory, cache=cache, tracking=Tracking(where), report=report)
    if not is_first:
        return
    if as_json:
        facts = trained._asdict() | {"model": str(trained.model)}
        typer.echo(json.dumps(facts | {"before": trained.before._asdict(), "after": trained.after._asdict()}))
        return
    for corpus, n_left_out in trained.n_left_out.items():
        console.print(f"left out {n_left_out:,} unreadable rows of {corpus} (`infembed corpus validate` shows them)")
    console.print(
        f"{trained.n_steps} steps{' (resumed)' if trained.is_resumed else ''}, best at step {trained.best_step}; "
        f"{trained.seconds:,.0f} s with documents and dev"
    )
    for name, before in trained.before._asdict().items():
        after = getattr(trained.after, name)
        console.print(f"  dev {name:11} {before * 100:6.1f} -> {after * 100:6.1f}")
    console.print(f"model at {trained.model}; loss curve in {directory}/curve.jsonl; tracked in {where}")


def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="RUN/model of two runs or more on one base model.")],
    out: Annotated[Path, typer.Option(help="The checkpoint's directory; must not exist.")],
    name: Annotated[str | None, typer.Option(help="Its name; default: that of the directory.")] = None,
    rank: Annotated[int | None, typer.Option(help="Of its factors; default: the sum of the runs' ranks.")] = None,
) -> None:
    """Write the mean of several runs' weights as one checkpoint."""
    from infembed.errors import BadConfigError
    from training.average import average as mean

    if len({path.resolve() for path in checkpoints}) < len(checkpoints):
        raise BadConfigError("a checkpoint is given twice, so it would count twice; give each once")
    manifest = mean(checkpoints, out, name=name or out.name, rank=rank)
    lora = manifest.model.lora
    what = "all weights of the query tower" if lora is None else f"factors of rank {lora.rank}"
    plain_console().print(f"mean of {len(checkpoints)} runs, {what}, at {out}")
