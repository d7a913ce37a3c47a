"""`mmrns explain RUN`: one triple's negatives, attention and rank."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from mmrns.errors import UserError

HELP = "show a triple's hard negatives, what the attention looked at, and what ranks above it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, the triple, --side, -k, --png, --json."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that mmrns train wrote")
    parser.add_argument("--head", required=True, help="id or label of the head")
    parser.add_argument("--relation", required=True, help="id or label of the relation")
    parser.add_argument("--tail", required=True, help="id or label of the tail")
    parser.add_argument(
        "--side",
        choices=("both", "tail", "head"),
        default="both",
        help="tail asks (head, relation, ?), head asks (?, relation, tail) (default: both)",
    )
    parser.add_argument("-k", type=int, default=10, help="negatives and places of the ranking (default: 10)")
    parser.add_argument(
        "--png", type=Path, metavar="PATH", help="also draw it: one FILE.png, or a folder for tail.png and head.png"
    )
    parser.add_argument("--json", action="store_true", help="print the explanation as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Explain, draw if asked, and print."""
    from mmrns.explanation import Explainer
    from mmrns.explanation.explainer import BOTH
    from mmrns.report.explained_text import as_text

    explainer = Explainer(arguments.run_folder)
    sides = BOTH if arguments.side == "both" else (arguments.side,)
    explanation = explainer.explain(arguments.head, arguments.relation, arguments.tail, sides=sides, top=arguments.k)
    if arguments.png is not None:
        from mmrns.explanation.pictures import EncoderView
        from mmrns.report.explained_figure import explanation_figure, save_figure

        view = EncoderView(explainer.features.manifest if explainer.features else {})
        one = arguments.png.suffix.lower() == ".png" and not arguments.png.is_dir()
        if not one and arguments.png.is_file():
            raise UserError(f"--png {arguments.png}: is a file; give a name that ends in .png, or a folder")
        files = {arguments.png: explanation.sides} if one else {
            arguments.png / f"{side.asks}.png": [side] for side in explanation.sides
        }  # fmt: skip
        for path, drawn in files.items():
            save_figure(explanation_figure(explanation, explainer.regions, view, drawn), path)
    if arguments.json:
        print(json.dumps(asdict(explanation), indent=2, ensure_ascii=False))
    else:
        print(as_text(explanation, explainer.regions))
