"""`mmrns predict RUN`: the most plausible answers to one question."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from mmrns.errors import UserError

HELP = "answer (head, relation, ?) or (?, relation, tail) with a trained run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --head or --tail, --relation, -k, --json."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that mmrns train wrote")
    parser.add_argument("--head", help="id or label of the head; its tails are predicted")
    parser.add_argument("--tail", help="id or label of the tail; its heads are predicted")
    parser.add_argument("--relation", required=True, help="id or label of the relation")
    parser.add_argument("-k", type=int, default=10, help="number of answers (default: 10)")
    parser.add_argument("--json", action="store_true", help="print answers as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Predict and print, known answers marked with the split that lists them."""
    from mmrns.graph import load_dataset
    from mmrns.inference import load
    from mmrns.report.tables import markdown_table

    trained = load(arguments.run_folder)
    try:
        dataset = load_dataset(trained.config.dataset)
    except UserError as error:  # a model travels without its graph; it only cannot tell what is known
        print(f"known answers are not marked: {error}", file=sys.stderr)
        dataset = None
    answers = trained.predict(
        head=arguments.head, relation=arguments.relation, tail=arguments.tail, k=arguments.k, dataset=dataset
    )
    if arguments.json:
        print(json.dumps([asdict(answer) for answer in answers], indent=2, ensure_ascii=False))
        return
    rows = [[str(a.rank), a.label, a.id, f"{a.score:.3f}", a.known or ("new" if dataset else "?")] for a in answers]
    print(markdown_table(["rank", "answer", "id", "score", "known"], rows))
