"""`mmrns push RUN OWNER/NAME`: send a trained run to the model hub."""

import argparse
from pathlib import Path

from mmrns.errors import UserError

HELP = "send a trained run, with a generated model card, to the Hugging Face hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, the repository, --private, --license."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that mmrns train wrote")
    parser.add_argument("repository", metavar="OWNER/NAME", help="where to on the hub; it is made if need be")
    parser.add_argument("--private", action="store_true", help="make a repository that only its owners see")
    parser.add_argument("--license", help="id of a licence on the hub, e.g. cc-by-4.0 (default: that of the data)")


def run(arguments: argparse.Namespace) -> None:
    """Save a copy with its card, and upload it."""
    from huggingface_hub.errors import HTTPError

    from mmrns.features.hub import said_by
    from mmrns.inference import load

    if not arguments.run_folder.is_dir():
        raise UserError(f"{arguments.run_folder}: no such folder; give one that mmrns train wrote")
    trained = load(arguments.run_folder)
    try:
        url = trained.push_to_hub(
            arguments.repository,
            private=arguments.private or None,
            commit_message="Model and card from mmrns push",
            model_card_kwargs={"license": arguments.license},
        )
    except UserError:
        raise
    except (OSError, RuntimeError, ValueError, HTTPError) as error:  # the hub's own errors are of these kinds
        raise UserError(
            f"{arguments.repository}: not pushed ({said_by(error)}); check the name, the connection and `hf auth login`"
        ) from error
    print(url)
