"""`mmrns export RUN --format FORM --output FOLDER`: a trained model for other programs, or for the hub."""

import argparse
from pathlib import Path

from mmrns.errors import UserError

HELP = "write a trained model as embeddings with names, as an ONNX scorer, or as a folder for the hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --format, --output, --license."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that mmrns train wrote")
    parser.add_argument(
        "--format",
        required=True,
        help="npy, word2vec (text) or parquet: embeddings of entities and relations with their names; onnx: scorers "
        "of all answers, one a direction; hub: a folder to load again or to upload, with a model card",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where to; a folder that is new")
    parser.add_argument("--license", help="with --format hub: id of a licence on the hub (default: that of the data)")


def run(arguments: argparse.Namespace) -> None:
    """Write, and say what."""
    from mmrns.inference import load
    from mmrns.inference.exports import export

    if arguments.license and arguments.format != "hub":
        raise UserError("--license: belongs to --format hub; leave it out")
    export(load(arguments.run_folder), arguments.format, arguments.output, arguments.license)
    for path in sorted(arguments.output.iterdir()):
        print(f"{path} ({path.stat().st_size:,} bytes)")
