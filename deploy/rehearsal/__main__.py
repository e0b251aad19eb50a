"""Rehearse the canary of deploy/canary/argo on one machine: python -m deploy.rehearsal [--scenario NAME ...].

Exit code 0 only if every scenario ended as it must and no client lost anything that the candidate did not lose it.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

from deploy.rehearsal.ending import Ending, check_ending
from deploy.rehearsal.manifests import read_plan, weights_of
from deploy.rehearsal.rollout import Rollout
from deploy.rehearsal.scenarios import SCENARIOS, Scenario
from deploy.rehearsal.stage import Stage, prepare
from deploy.rehearsal.world import Pace, World

_TOOLS = {"nginx": "nginx-light", "prometheus": "prometheus"}
_AFTERWARDS = 50
"""Searches by which is seen that all is well after the end of a rollout."""


class Timeline:
    """Lines with the seconds since the scenario began, on the terminal and in the transcript."""

    def __init__(self, transcript: TextIO) -> None:
        self._transcript = transcript
        self._began = time.monotonic()

    def begin(self, title: str) -> None:
        """Start a scenario."""
        self._write(f"\n{title}")
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Write a line with its time."""
        self._write(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def _write(self, line: str) -> None:
        print(line, flush=True)
        self._transcript.write(f"{line}\n")
        self._transcript.flush()


def main() -> int:
    """Run the scenarios in turn."""
    options = _options()
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        print(
            f"error: the rehearsal needs {' and '.join(missing)}; apt-get install {' '.join(missing)}", file=sys.stderr
        )
        return 3
    state = options.state.resolve()
    print("preparing bundles, indexes and questions (the first time takes minutes)", flush=True)
    stage = prepare(state)
    runs = state / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    chosen = [scenario for scenario in SCENARIOS if scenario.name in (options.scenario or _names())]
    with (options.out or state / "transcript.txt").open("w", encoding="utf-8") as transcript:
        timeline = Timeline(transcript)
        plan = read_plan()
        weights = ", ".join(f"{percent} %" for percent in weights_of(plan.steps))
        scaled = f"pauses, intervals and windows are {options.speed_up:g} times shorter"
        timeline.begin(f"deploy/canary/argo, weights {weights}; {scaled}")
        endings = [_rehearse(scenario, stage, runs / scenario.name, timeline, options) for scenario in chosen]
        good = sum(ending.is_right for ending in endings)
        timeline.begin(f"{good} of {len(endings)} scenarios ended as they must")
    return 0 if good == len(endings) else 1


def _rehearse(
    scenario: Scenario, stage: Stage, directory: Path, timeline: Timeline, options: argparse.Namespace
) -> Ending:
    timeline.begin(f"=== {scenario.name}: {scenario.says}")
    plan = read_plan()
    pace = Pace(options.speed_up, options.rate)
    with World(plan, scenario, stage, directory, pace=pace, say=timeline.say) as world:
        before = world.champion()
        rollout = Rollout(plan, world, speed_up=options.speed_up, say=timeline.say)
        outcome = rollout.run(without=scenario.without)
        ended_at = world.now()
        world.clients.wait_for(_AFTERWARDS)
        world.clients.stop()
        ending = check_ending(
            scenario,
            outcome,
            answers=world.clients.answers(),
            n_sent=world.clients.n_sent,
            ended_at=ended_at,
            before=before,
            after=world.champion(),
        )
    for line in ending.lines:
        timeline.say(line)
    return ending


def _names() -> list[str]:
    return [scenario.name for scenario in SCENARIOS]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.rehearsal", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=_names(), help="again for more; default: all")
    parser.add_argument("--state", type=Path, default=Path(".cache/rehearsal"), help="where everything is kept")
    parser.add_argument("--speed-up", type=float, default=30.0, help="how many times shorter pauses and windows are")
    parser.add_argument("--rate", type=float, default=20.0, help="searches that clients send each second")
    parser.add_argument("--out", type=Path, help="transcript; default: transcript.txt in the state directory")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
