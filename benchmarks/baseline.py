"""Score the untrained base model under every fusion, and without instructions, on every suite whose data are there.

Writes bundles and reports below --work and prints the tables of docs/results.md. Interrupted, it goes on where it was.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.tables import by_suite
from evaluation.encoders import ScoredModel, open_bundle
from evaluation.evaluate import Suites, evaluate
from evaluation.page import report_page
from evaluation.report import Measure, save_report
from evaluation.suites.catalogue import BUILT, DEFAULT, find_suite
from infembed.errors import MissingArtefactError
from infembed.inputs import Fusion
from infembed.progress import show_progress
from model_export.assemble import BASE_RECIPE, assemble, find_recipe

SHOWN = (Measure.P_MRR, Measure.PRESERVE_MRR, Measure.SHUFFLED_P_MRR, Measure.PAIRWISE, Measure.LIFT, Measure.NDCG)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("INFEMBED_DATA"))
    parser.add_argument("--work", type=Path, default=Path(".cache/baseline"))
    arguments = parser.parse_args()
    suites = _suites(arguments.data)
    models = {"none": replace(_model(Fusion.PREFIX, arguments.work), hears_instructions=False)}
    models |= {fusion: _model(fusion, arguments.work) for fusion in (Fusion.ATTENTION, Fusion.PREFIX, Fusion.CONCAT)}
    reports = {}
    with show_progress(Console(stderr=True), unit="texts") as progress:
        for name, model in models.items():
            reports[name] = evaluate(model, suites, cache=arguments.work / "vectors", report=progress)
            save_report(reports[name], arguments.work / name / "report.json")
            (arguments.work / name / "report.html").write_text(report_page(reports[name]), encoding="utf-8")
    for measure in SHOWN:
        print("\n".join(by_suite(measure, reports)), end="\n\n")
    for name, reason in suites.left_out.items():
        print(f"Left out: {name} ({reason})")


def _suites(data: Path | None) -> Suites:
    found, left_out = [], {}
    for name in dict.fromkeys([*DEFAULT, *BUILT]):
        try:
            found.append(find_suite(name, data=data))
        except MissingArtefactError as error:
            left_out[name] = str(error)
    return Suites(found, left_out)


def _model(fusion: Fusion, work: Path) -> ScoredModel:
    path = work / f"bundle-{fusion}"
    if not path.exists():
        assemble(find_recipe(BASE_RECIPE), path, fusion=fusion)
    return open_bundle(path)


if __name__ == "__main__":
    main()
