"""The variants of a training run that docs/ablations.md compares, each a change of the run's configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import TrainConfig
from training.run_directory import MODEL

CONFIGURED = "as configured"
HELD_OUT_TYPES = {
    ("exclusion", "negation", "inclusion"): ("condaqa", "negation-pairs"),
    ("stance", "persona"): (),
    ("audience", "detail", "facet", "format"): (),
    ("time", "place", "conjunction"): (),
}
"""Each type is held out once, with those that teach the most about it, and with the sources that have no other type."""
HELD_OUT_SOURCES = (
    ("inf-ir-mini",),
    ("medquad", "pubmedqa"),
    ("condaqa", "fever-symmetric", "negation-pairs"),
    ("perspectrum", "netflix", "msdocs"),
)

DERIVED = ("keyword", "like", "stance", "kinds")
"""What stands before a source, and a colon between, where its rows were made of the source or belong to it."""

Change = Mapping[str, Mapping[str, Any]]


def changes(config: TrainConfig, work: Path) -> dict[str, Change]:
    """What each variant changes in the run, by table of its TOML file; runs lie below `work`.

    Fusions are compared with tower frozen, since only `prefix` can be steered; "without instructions" is to be compared
    with "prefix, P", which differs in nothing else.
    """
    frozen = {"tower": "frozen", "pools_instruction": False}
    prefix = frozen | {"fusion": "prefix"}
    found: dict[str, Change] = {
        CONFIGURED: {},
        "second seed": {"": {"seed": config.seed + 1}},
        "without instructions": {"model": prefix, "loss": {"with_instructions": False, "terms": ("P",)}},
        "prefix": {"model": prefix},
        "prefix, P": {"model": prefix, "loss": {"terms": ("P",)}},
        "prefix, pooled over all": {"model": prefix | {"pools_instruction": True}},
        "concat": {"model": frozen | {"fusion": "concat"}},
        "attention": {"model": frozen | {"fusion": "attention"}},
        "held to plain queries": {"model": frozen, "loss": {"plain_weight": 0.5}},
        "all weights": {"model": frozen | {"lora": None}, "steps": {"learning_rate": 1e-4}},
        "shared tower": {"model": {"tower": "shared"}},
        "mined negatives": {"data": {"mined": 4}},
        "Matryoshka": {"loss": {"dimensions": (384, 192, 96)}},
        "taught by concat": {"loss": {"teacher": str(run_directory(work, "concat") / MODEL), "teacher_weight": 1.0}},
        "InF-IR-mini only": {"data": {"shares": {"inf-ir-mini": 1.0}}},
        "types balanced": {"data": {"balances_types": True}},
    }
    for name, terms, join in (
        ("P", ("P",), "multi"),
        ("I", ("I",), "multi"),
        ("IQ", ("IQ",), "multi"),
        ("uni{P,I}", ("P", "I"), "uni"),
        ("multi{P,I,IQ}", ("P", "I", "IQ"), "multi"),
    ):
        found[name] = {"loss": {"terms": terms, "join": join}}
    for temperature in (0.02, 0.1):
        found[f"temperature {temperature}"] = {"loss": {"temperature": temperature}}
    for rows in (16, 64):
        found[f"{rows} rows a step"] = {"steps": {"rows_per_step": rows}}
    for kinds, sources in HELD_OUT_TYPES.items():
        found[without(kinds)] = {"data": {"exclude_types": kinds, "shares": _shares_without(config, sources)}}
    for sources in HELD_OUT_SOURCES:
        found[without(sources)] = {"data": {"shares": _shares_without(config, sources)}}
    return found


def without(names: Sequence[str]) -> str:
    """Name the variant that never saw some types or sources; "without inf-ir-mini" is trained on recipes only."""
    return "without " + ", ".join(names)


def with_corpora(config: TrainConfig, corpus: str, dev_corpus: str) -> TrainConfig:
    """Put the corpora built on this machine in the place of the file's."""
    data = config.data.model_copy(update={"corpora": ("inf-ir-mini", corpus), "dev": ("inf-ir-mini", dev_corpus)})
    return config.model_copy(update={"data": data})


def with_steps(config: TrainConfig, n: int) -> TrainConfig:
    """Shorten a run; a small dev is scored at its end, since the last step is what is compared."""
    steps = config.steps.model_copy(update={"max_steps": n, "evaluate_every": n})
    data = config.data.model_copy(update={"dev_rows": 20})
    return config.model_copy(update={"steps": steps, "data": data})


def apply(config: TrainConfig, name: str, change: Change) -> TrainConfig:
    """Change a configuration, table by table, "" the top; what does not fit together is refused as in a file."""
    values = config.model_dump()
    for table, keys in change.items():
        (values[table] if table else values).update(keys)
    return TrainConfig.model_validate(values | {"name": slug(name)})


def slug(name: str) -> str:
    """Make a name that is a file's as well."""
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in name).strip("_")


def run_directory(work: Path, name: str) -> Path:
    """Return where a variant's run lies."""
    return work / "runs" / slug(name)


def _shares_without(config: TrainConfig, sources: Sequence[str]) -> dict[str, float]:
    return {name: share for name, share in config.data.shares.items() if name.rpartition(":")[2] not in sources}
