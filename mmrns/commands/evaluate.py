"""`mmrns evaluate RUN`: rank a split again with a run's selected checkpoint."""

import argparse
import json
from pathlib import Path

HELP = "rank a split with a trained run and write its per-query ranks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --split, --json."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that mmrns train wrote")
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="split to rank (default: test)")
    parser.add_argument("--json", action="store_true", help="print metrics as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and print."""
    from mmrns.inference import evaluate
    from mmrns.report.tables import metrics_table

    metrics = evaluate(arguments.run_folder, arguments.split)
    if not metrics:  # another process of a distributed evaluation prints
        return
    print(json.dumps(metrics, indent=2) if arguments.json else metrics_table({arguments.split: metrics}))
