"""Reads the Dockerfile into stages, enough for questions about it."""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
IMAGES = ("cpu", "jobs", "gpu")


class Instruction(NamedTuple):
    """One instruction, its continued lines joined."""

    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: what it is built on, and what it does."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Give what follows each instruction called `name`."""
        return [instruction.rest for instruction in self.instructions if instruction.name == name]


def tool(name: str) -> str | None:
    """Find a program, in the environment that runs the tests first."""
    return shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))


def read_stages(path: Path = ROOT / "Dockerfile") -> dict[str, Stage]:
    """Read every stage by name; the nameless last one is `""`."""
    stages: dict[str, Stage] = {}
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            base, _, name = instruction.rest.partition(" AS ")
            stages[name] = Stage(name, base)
        elif stages:
            list(stages.values())[-1].instructions.append(instruction)
    return stages


def effective(stages: dict[str, Stage], name: str) -> list[Instruction]:
    """Give the instructions that make an image, those of the stages it is built on first."""
    stage = stages[name]
    inherited = effective(stages, stage.base) if stage.base in stages else []
    return [*inherited, *stage.instructions]


def environment(instructions: list[Instruction]) -> dict[str, str]:
    """Give the variables that ENV sets."""
    pairs = [pair for one in instructions if one.name == "ENV" for pair in one.rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        name, _, rest = line.partition(" ")
        yield Instruction(name, " ".join(rest.split()))
