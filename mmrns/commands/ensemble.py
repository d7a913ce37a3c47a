"""`mmrns ensemble RUN ... --output FOLDER`: rank valid and test with several runs, and features, as one."""

import argparse
import json
from pathlib import Path

HELP = "rank valid and test with the standardised scores of runs, and of likeness in features, added up"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN ..., --output, --weights, --feature-similarity, --json."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="finished runs of one dataset")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="new folder for metrics.json and per-query ranks"
    )
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="W", help="a positive number a run (default: 1 each)"
    )
    parser.add_argument(
        "--feature-similarity", type=_weighed, nargs="+", default=[], metavar="MODALITY=W",
        help="add the cosine of two entities' features, such as text=0.3, standardised too",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print metrics as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Rank and print."""
    from mmrns.inference.ensemble import evaluate_ensemble
    from mmrns.report.tables import metrics_table

    metrics = evaluate_ensemble(arguments.runs, arguments.output, arguments.weights, dict(arguments.feature_similarity))
    if not metrics:  # another process prints
        return
    splits = {name: metrics[name] for name in ("valid", "test")}
    print(json.dumps(splits, indent=2) if arguments.json else metrics_table(splits))


def _weighed(text: str) -> tuple[str, float]:
    modality, _, weight = text.partition("=")
    try:
        return modality, float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: write MODALITY=NUMBER, such as text=0.3") from None
