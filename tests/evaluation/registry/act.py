"""One registry command in a process of its own, which may end itself by SIGKILL at a step: act.py ACTION URI ARGUMENTS.

Prints the champion's version, or the error's class and message.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import typer

from evaluation.registry import promotion
from evaluation.registry.evidence import Evidence
from evaluation.registry.location import Location
from evaluation.registry.promotion import Signer, Step
from evaluation.registry.store import Store
from infembed.errors import InfEmbedError


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["promote", "rollback"])
    parser.add_argument("registry")
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--index", type=Path)
    parser.add_argument("--by", default="ann")
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--wait-for", type=Path, help="before the commit: say so, wait for this file")
    options = parser.parse_args()
    store = Store.open(Location.parse(options.registry))
    signer = Signer(options.by, "tried")
    seen: list[Step] = []

    def at_step(step: Step) -> None:
        seen.append(step)
        if len(seen) == options.kill_at + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if step is Step.EVIDENCE and options.wait_for:
            typer.echo("ready")
            while not options.wait_for.exists():
                time.sleep(0.01)

    try:
        if options.action == "rollback":
            release = promotion.rollback(store, signer, at_step=at_step)
        else:
            decision, champion, candidate = options.files
            evidence = Evidence.read(decision=decision, champion=champion, candidate=candidate)
            release = promotion.promote(store, evidence, signer, index=options.index, at_step=at_step)
    except InfEmbedError as error:
        typer.echo(f"{type(error).__name__} {error}")
        sys.exit(1)
    typer.echo(" ".join(["champion", str(release.version), *(step.name for step in seen)]))


if __name__ == "__main__":
    main()
