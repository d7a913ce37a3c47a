"""`mmrns benchmark scale`: what a step, an evaluation and loading cost as the graph grows."""

import argparse
import itertools
import json
import shlex
import sys
import tempfile
from pathlib import Path

HELP = "train and evaluate on graphs of several sizes: step time, memory, loading, queries/s"

_RECORD = Path("results/scale.md")
_LEAST_ENTITIES = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Graphs to generate or to read, and how much to do on each."""
    parser.add_argument(
        "--entities",
        type=int,
        nargs="+",
        default=[15_000, 150_000],
        metavar="N",
        help="generate a graph of each size, 6.4 triples an entity (default: 15000 150000; the first is compared with)",
    )
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="use these datasets instead of generating some")
    parser.add_argument("--folder", type=Path, help="keep generated graphs here, and use those that are there already")
    parser.add_argument(
        "--sampler",
        nargs="+",
        default=["uniform"],
        metavar="NAME",
        help="samplers, one after another (default: uniform)",
    )
    parser.add_argument("--dim", type=int, default=50, help="dimension of RotatE, 2 numbers each (default: 50)")
    parser.add_argument("--batch-size", type=int, default=512, help="triples a step (default: 512)")
    parser.add_argument("--num-negatives", type=int, default=32, help="negatives a triple (default: 32)")
    parser.add_argument(
        "--negatives-shared",
        type=int,
        nargs="+",
        default=[1],
        metavar="N",
        help="queries that share a draw of uniform negatives, one run of the uniform sampler each (default: 1)",
    )
    parser.add_argument("--sparse", choices=("always", "never", "auto"), default="always", help="default: always")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each graph in turn (default: 5)")
    parser.add_argument("--steps", type=int, default=10, help="steps of a graph in a round (default: 10)")
    parser.add_argument("--queries", type=int, default=50, help="test triples ranked, both ways (default: 50)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--record",
        type=Path,
        nargs="?",
        const=_RECORD,
        metavar="FILE",
        help=f"write a page, and JSON beside it (default: {_RECORD})",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    from mmrns.benchmark.scale import measure_scale, step_ratios
    from mmrns.config_io import load_config
    from mmrns.errors import UserError
    from mmrns.files import write_json, write_text
    from mmrns.report.scale import scale_entry, scale_page, scale_run, scale_text

    if min(arguments.entities) < _LEAST_ENTITIES:
        raise UserError(f"--entities {min(arguments.entities)}: give {_LEAST_ENTITIES} or more, to hold triples out")
    for name in ("dim", "batch_size", "num_negatives", "threads", "rounds", "steps", "queries"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: give 1 or more")
    shared = {name: getattr(arguments, name) for name in ("dim", "batch_size", "num_negatives", "sparse", "threads")}
    runs = []
    with tempfile.TemporaryDirectory(prefix="mmrns-scale-") as temporary:
        folders = arguments.datasets or [_graph(arguments.folder or Path(temporary), n) for n in arguments.entities]
        for sampler, sharing in itertools.product(arguments.sampler, arguments.negatives_shared):
            if sampler != "uniform" and sharing != arguments.negatives_shared[0]:
                continue  # the others do not share: once is enough
            chosen = {"sampler": sampler} | shared | ({"negatives_shared": sharing} if sampler == "uniform" else {})
            configs = [load_config({"dataset": str(folder), "device": "cpu"} | chosen) for folder in folders]
            results = measure_scale(configs, arguments.rounds, arguments.steps, arguments.queries, tell=_tell)
            runs.append(scale_run(results, step_ratios(results, arguments.steps), chosen))
            entry = scale_entry(runs, shlex.join(["mmrns", *sys.argv[1:]]))
            if arguments.record:  # after each sampler, so that what has been measured is kept
                write_text(arguments.record, scale_page(entry))
                write_json(arguments.record.with_suffix(".json"), entry)
    print(json.dumps(entry, indent=2) if arguments.json else scale_text(entry))


def _graph(folder: Path, entities: int) -> Path:
    """The folder of a generated graph; it is made where it is not there."""
    from mmrns.features.synthetic import write_features
    from mmrns.files import atomic_folder
    from mmrns.graph.synthetic import SyntheticGraph

    place = folder / f"synthetic-{entities}"
    if not place.is_dir():
        _tell(f"generating {place}")
        with atomic_folder(place) as temporary:
            # As many relations in every large graph: what an MMRNS step costs grows with those that meet in a batch.
            graph = SyntheticGraph(entities, round(6.4 * entities), max(8, min(100, entities // 150)))
            graph.write(temporary)
            write_features(graph, temporary, {"image": (24, 128), "text": (4, 128)})
    return place


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
