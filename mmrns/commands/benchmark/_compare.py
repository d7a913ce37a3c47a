"""What benchmarks that compare sides share: their flags, and what becomes of their figures."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrns.benchmark.comparison import Comparison
    from mmrns.benchmark.suites import Size
    from mmrns.options import Device

_RECORD = Path("results/performance.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a benchmark of models, which has sizes."""
    parser.add_argument(
        "--size",
        choices=("small", "published"),
        default="small",
        help="small: PictoKG, a few minutes; published: MMRNS as published, on the triples of MKG-W (default: small)",
    )
    parser.add_argument("--dataset", metavar="NAME", help="another dataset; its triples alone are used")
    add_device(parser)
    add_measuring(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """The flag that says where the sides run."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default: cpu")


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """The flags of every benchmark that compares sides: how to measure, and what becomes of the figures."""
    parser.add_argument("--threads", type=positive, default=2, help="CPU threads of every side (default: 2)")
    parser.add_argument("--repetitions", type=positive, default=3, help="turns of every side (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--record",
        type=Path,
        nargs="?",
        const=_RECORD,
        metavar="FILE",
        help=f"add the figures to this record and write its page beside it (default: {_RECORD})",
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="?",
        const=_RECORD,
        metavar="FILE",
        help="exit with status 1, and record nothing, if a ratio of this record fell beyond noise or was not measured "
        f"(default: {_RECORD})",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.25,
        help="share by which --against lets every turn fall behind the record's worst (default: 0.25)",
    )


def run(
    name: str, arguments: argparse.Namespace, comparisons: "Callable[[Size, str, Device], list[Comparison]]"
) -> dict[str, Any]:
    """Measure, print, record and compare as the flags say.

    Args:
        name: of the benchmark.
        arguments: parsed flags.
        comparisons: of a size, a dataset and a device.
    """
    from mmrns.benchmark import pykeen_peer
    from mmrns.benchmark.suites import SIZES
    from mmrns.graph.dataset import dataset_folder

    size = SIZES[arguments.size]
    dataset = arguments.dataset or size.dataset
    dataset_folder(dataset, "--dataset")
    absent = {}
    if not pykeen_peer.available():
        print(pykeen_peer.MISSING, file=sys.stderr)
        absent["pykeen"] = "PyKEEN is not installed"
    settings = {"size": arguments.size, "dataset": Path(dataset).name, "threads": arguments.threads}
    return report(name, settings, arguments, comparisons(size, dataset, arguments.device), absent)


def report(
    name: str,
    settings: dict[str, Any],
    arguments: argparse.Namespace,
    comparisons: "list[Comparison]",
    absent: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Measure, print, record and compare as the flags of `add_measuring` say.

    Args:
        name: of the benchmark.
        settings: what figures must share to be comparable.
        arguments: parsed flags.
        comparisons: what to measure.
        absent: rival -> why it cannot be measured here.
    """
    import torch

    from mmrns.benchmark.comparison import add_to_record, behind, measure, recorded
    from mmrns.processes import check_device, device_of
    from mmrns.report.performance import benchmark_text, performance_page

    check_device(arguments.device)
    if device_of(arguments.device).type != "cpu":
        settings = settings | {"device": torch.cuda.get_device_name()}
    earlier = recorded(arguments.against, name, settings) if arguments.against else None
    entry = measure(
        name,
        settings,
        comparisons,
        arguments.repetitions,
        arguments.threads,
        lambda title: print(title, file=sys.stderr, flush=True),
    )
    entry["command"] = shlex.join(["mmrns", *sys.argv[1:]])
    print(json.dumps(entry, indent=2) if arguments.json else benchmark_text(entry))
    fallen = behind(earlier, entry, arguments.tolerance, absent) if earlier else []
    for line in fallen:
        print(f"behind the record: {line}", file=sys.stderr)
    if fallen and arguments.record:  # what they fell from would be gone, and the next run would pass
        print(f"{arguments.record}: left as it was; to record these figures, run without --against", file=sys.stderr)
    if fallen:
        raise SystemExit(1)
    if arguments.record:
        add_to_record(arguments.record, entry, performance_page)
    return entry


def positive(text: str) -> int:
    """A flag's whole number, 1 or more."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number, 1 or more")
    return value
