"""Train variants of one run on the same rows and steps, and score each on the same suites: docs/ablations.md.

    python -m benchmarks.ablations configs/train-release.toml --corpus CORPUS --dev-corpus DEV --data DATA
    python -m benchmarks.ablations ... --only "prefix;concat;attention"      # some of them
    python -m benchmarks.ablations ... --suites test                         # once, at the end

Everything is kept below --work: a variant that was trained or scored is not trained or scored again, and one that was
trained as another configuration says is refused. Scores on dev are for choosing; test is scored once.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.ablation_tables import draw, held_out_table, means_table, suite_table, type_table
from benchmarks.ablation_variants import (
    CONFIGURED,
    Change,
    apply,
    changes,
    run_directory,
    slug,
    with_corpora,
    with_steps,
)
from evaluation.encoders import ScoredModel, directory_digest
from evaluation.evaluate import Suites, evaluate
from evaluation.report import ModelIdentity, ModelKind, Report, load_report, save_report
from evaluation.suites.catalogue import DEFAULT, find_suite
from evaluation.suites.layout import Suite
from evaluation.vector_cache import digest_of
from infembed.bundle import Tower
from infembed.encoder import Encoder
from infembed.inputs import Fusion, InputType, TextInput
from infembed.progress import Report as Progress
from infembed.progress import show_progress
from training.checkpoint import load_checkpoint
from training.config import ModelConfig, TrainConfig
from training.corpus.mini import Part
from training.dev import choose_rows, dev_suite
from training.encoder import TorchEncoder
from training.mixture import load_rows
from training.model import InfEmbed, open_model
from training.run import train
from training.run_directory import CONFIG_FILE, MODEL

TEST = (*DEFAULT, "csfcube", "npl")
CUT = (CONFIGURED, "Matryoshka")
"""Variants that are scored at narrower widths as well: untrained for them, and trained."""
WIDTHS = (192, 96)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--corpus", required=True, help="what `infembed corpus decontaminate` left of the recipes")
    parser.add_argument("--dev-corpus", required=True, help="`infembed corpus build --recipe all --split dev`")
    parser.add_argument("--data", type=Path, default=os.environ.get("INFEMBED_DATA"))
    parser.add_argument("--only", help="names of variants, separated by semicolons")
    parser.add_argument("--max-steps", type=int, help="train every variant for so many steps instead of the file's")
    parser.add_argument("--suites", choices=("dev", "test"), default="dev")
    parser.add_argument("--suite", action="append", choices=TEST, help="of test, this one alone; again for more")
    parser.add_argument("--picture", type=Path, help="draw the means of all variants here, as SVG")
    parser.add_argument("--work", type=Path, default=Path(".cache/ablations"))
    arguments = parser.parse_args()
    if arguments.suite and arguments.suites == "dev":
        parser.error("--suite chooses among the test suites; give --suites test with it")
    config = with_corpora(TrainConfig.from_toml(arguments.config), arguments.corpus, arguments.dev_corpus)
    every = changes(config, arguments.work)
    names = arguments.only.split(";") if arguments.only else list(every)
    if unknown := [name for name in names if name not in every]:
        parser.error(f"no variant {', '.join(unknown)}; there are {', '.join(every)}")
    suites = (
        dev_suites(config)
        if arguments.suites == "dev"
        else [find_suite(s, data=arguments.data) for s in arguments.suite or TEST]
    )
    if arguments.max_steps:
        config = with_steps(config, arguments.max_steps)
    wanted = {name: every[name] for name in names}
    if others := other_runs(config, wanted, arguments.work):
        parser.error(f"{', '.join(map(str, others))}: of another configuration; give another --work, or remove them")
    reports = {
        label: _scored(scored, arguments.work / arguments.suites / f"{slug(label)}.json", name, suites, arguments.work)
        for name, model in _models(config, wanted, arguments.work)
        for label, scored in by_width(name, model, arguments.work)
    }
    for lines in (means_table(reports), suite_table(reports), type_table(reports), held_out_table(reports)):
        print("\n".join(lines), end="\n\n")
    if arguments.picture:
        draw(reports, arguments.picture)


def other_runs(config: TrainConfig, wanted: Mapping[str, Change], work: Path) -> list[Path]:
    """Return where runs of other configurations lie, which would be shown under the names of those asked for.

    What stands in a configuration is compared, so a corpus that was changed in its place is not noticed.
    """
    found = {run_directory(work, name): apply(config, name, change) for name, change in wanted.items()}
    written = {out: out / CONFIG_FILE for out in found if (out / CONFIG_FILE).is_file()}
    return [out for out, path in written.items() if TrainConfig.model_validate_json(path.read_bytes()) != found[out]]


def dev_suites(config: TrainConfig) -> list[Suite]:
    """One suite for each source of the dev corpora."""
    rows = choose_rows(load_rows(config.data.dev, Part.DEV).rows, most_of_each_source=config.data.dev_rows)
    sources = sorted({row.source for row in rows})
    return [dev_suite([r for r in rows if r.source == source], name=f"dev-{slug(source)}") for source in sources]


def _models(config: TrainConfig, wanted: Mapping[str, Change], work: Path) -> Iterator[tuple[str, InfEmbed]]:
    """Yield the untouched model under each fusion, then every variant, trained unless it was before."""
    for fusion in Fusion:
        untrained = untrained_model(config.model, fusion)
        yield f"untrained {fusion}", open_model(untrained).eval()
    for name, change in wanted.items():
        out = run_directory(work, name)
        variant = apply(config, name, change)
        if not (out / MODEL).exists():
            with show_progress(Console(stderr=True), unit="steps") as report:
                clock = StepClock(report)
                train(variant, out, cache=work / "documents", report=clock)
            (out / "seconds").write_text(f"{clock.seconds:.0f}")
        yield name, load_checkpoint(out / MODEL)


class StepClock:
    """Passes progress on, and takes the time of the steps alone.

    Frozen documents, dev and checkpoints, which come before, between and after, are left out by taking the median.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._ends: list[float] = []
        self._n_steps = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        if what == "training":
            self._ends.append(time.monotonic())
            self._n_steps = total
        self._progress(what, done, total)

    @property
    def seconds(self) -> float:
        """Seconds of all steps at the median's pace; NaN where there was only one."""
        return float(np.median(np.diff(self._ends))) * self._n_steps if len(self._ends) > 1 else math.nan


def by_width(
    name: str, model: InfEmbed, work: Path, *, widths: Sequence[int] = WIDTHS
) -> Iterator[tuple[str, ScoredModel]]:
    """Yield the model as it is, and for some variants cut to narrower vectors."""
    trained = run_directory(work, name) / MODEL
    digest = directory_digest(trained) if trained.exists() else digest_of([model.base_fingerprint, model.config.fusion])
    is_base = model.config.tower.keeps_documents or not trained.exists()
    fingerprint = digest_of([model.base_document_digest] if is_base else [digest, model.base_document_digest])
    identity = ModelIdentity(
        name=slug(name),
        digest=digest,
        document_fingerprint=fingerprint,
        kind=ModelKind.CHECKPOINT,
        fusion=model.config.fusion,
    )
    whole = ScoredModel(identity, TorchEncoder(model, document_fingerprint=fingerprint))
    yield name, whole
    for width in widths if name in CUT else ():
        yield f"{name}, {width} values", replace(whole, width=width)


def untrained_model(config: ModelConfig, fusion: Fusion) -> ModelConfig:
    """Return the base model as the run reads it, prompts and pooling included, with nothing to train."""
    values = config.model_dump() | {"fusion": fusion, "tower": Tower.FROZEN, "lora": None, "pools_instruction": False}
    return ModelConfig.model_validate(values)


def _scored(model: ScoredModel, path: Path, name: str, suites: list[Suite], work: Path) -> Report:
    """Score a model; a report of these very weights on these very suites is taken as it is."""
    wanted = [(suite.info.name, suite.digest) for suite in suites]
    if path.is_file():
        found = load_report(path)
        if found.model.digest == model.scored_as.digest and [(s.suite, s.digest) for s in found.suites] == wanted:
            return found
    with show_progress(Console(stderr=True), unit="texts") as progress:
        report = evaluate(model, Suites(suites, {}), cache=work / "vectors", report=progress)
    seconds = run_directory(work, name) / "seconds"
    notes = {"query_ms": _query_ms(model.encoder), "training_s": seconds.read_text() if seconds.is_file() else ""}
    report = report.model_copy(update={"notes": report.notes | notes})
    save_report(report, path)
    return report


def _query_ms(encoder: Encoder, *, n: int = 50) -> float:
    """Time single queries of about 8 tokens with an instruction of about 15; the median in milliseconds."""
    queries = [
        TextInput(
            f"how to keep slugs off lettuce {i}", InputType.QUERY, "Leave out anything with chemicals, pellets too."
        )
        for i in range(n)
    ]
    found = []
    for query in queries:
        started = time.perf_counter()
        encoder.encode_queries([query])
        found.append((time.perf_counter() - started) * 1000)
    return round(sorted(found)[n // 2], 1)


if __name__ == "__main__":
    main()
