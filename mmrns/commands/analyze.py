"""`mmrns analyze RUN`: the quality of a run's embeddings, features and attention outputs."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

HELP = "judge a run's embeddings and features: alignment, collapse, relatedness, categories, retrieval, maps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN..., a flag for each option of an analysis, --projector, --json."""
    from mmrns.analysis.result import Options

    parser.add_argument(
        "run_folders", type=Path, nargs="+", metavar="RUN",
        help="folder that mmrns train wrote; several share the alignment-uniformity plane",
    )  # fmt: skip
    for option in dataclasses.fields(Options):
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(option.default),
            default=option.default,
            help=f"{option.metadata['help']} (default: {option.default or 'none'})".replace(" (default: none)", ""),
        )
    parser.add_argument(
        "--projector",
        action="store_true",
        help="also write RUN/analysis/projector for TensorBoard's Embedding Projector",
    )
    parser.add_argument(
        "--json", action="store_true", help="print what analysis.json holds; of several runs, a list of it"
    )


def run(arguments: argparse.Namespace) -> None:
    """Analyse every run, then draw, write and print."""
    from mmrns.analysis import Options, analyze
    from mmrns.analysis.result import FOLDER
    from mmrns.explanation import Explainer
    from mmrns.report.analysis_files import as_json, write_analysis
    from mmrns.report.analysis_text import as_text
    from mmrns.report.projector import write_projector

    options = Options(**{option.name: getattr(arguments, option.name) for option in dataclasses.fields(Options)})
    explainers = [Explainer(folder) for folder in arguments.run_folders]
    analyses = []
    for explainer in explainers:
        where = explainer.trained.run.path
        say = (lambda stage, where=where: print(f"{where}: {stage}", file=sys.stderr)) if sys.stderr.isatty() else None
        analyses.append(analyze(explainer, options, say))
    written = []
    for analysis, explainer in zip(analyses, explainers, strict=True):
        written.append(write_analysis(analysis, explainer, analyses))
        if arguments.projector:
            write_projector(explainer, Path(analysis.run) / FOLDER / "projector", options)
    if arguments.json:
        found = [as_json(analysis) for analysis in written]
        print(json.dumps(found if len(found) > 1 else found[0], indent=2, ensure_ascii=False))
        return
    for analysis in written:
        print(as_text(analysis))
        print(f"\nwritten: {Path(analysis.run) / FOLDER}\n")
