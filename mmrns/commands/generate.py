"""`mmrns generate FOLDER`: a synthetic multimodal graph of any size."""

import argparse
import json
import time
from pathlib import Path

HELP = "write a synthetic multimodal graph of any size, with a planted signal, from a seed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, the sizes of the graph and of its features, --seed, --json."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to write; it must not hold anything yet")
    parser.add_argument("--entities", type=int, default=15_000, help="entities (default: %(default)s)")
    parser.add_argument("--triples", type=int, default=96_000, help="triples of all splits (default: %(default)s)")
    parser.add_argument("--relations", type=int, default=100, help="relations (default: %(default)s)")
    parser.add_argument("--held-out", type=int, default=1000, help="triples of valid, and of test (default: 1000)")
    for name, tokens in (("image", 24), ("text", 4)):
        parser.add_argument(
            f"--{name}-tokens", type=int, default=tokens, help=f"{name} tokens an entity; 0: none (default: {tokens})"
        )
        parser.add_argument(f"--{name}-dim", type=int, default=128, help="width of such a token (default: 128)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default: 0)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Write the folder, all or nothing, and say what is in it."""
    from mmrns.errors import UserError
    from mmrns.features.synthetic import write_features
    from mmrns.files import atomic_folder
    from mmrns.graph.synthetic import SyntheticGraph

    for name in ("image_tokens", "image_dim", "text_tokens", "text_dim", "seed"):
        if getattr(arguments, name) < (1 if name.endswith("dim") else 0):
            raise UserError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: too small; give a larger number")
    graph = SyntheticGraph(
        arguments.entities, arguments.triples, arguments.relations, arguments.seed, held_out=arguments.held_out
    )
    shapes = {
        name: (getattr(arguments, f"{name}_tokens"), getattr(arguments, f"{name}_dim"))
        for name in ("image", "text")
        if getattr(arguments, f"{name}_tokens")
    }
    started = time.perf_counter()
    with atomic_folder(arguments.folder) as temporary:
        graph.write(temporary)
        if shapes:
            write_features(graph, temporary, shapes)
    written = sum(path.stat().st_size for path in arguments.folder.iterdir())
    summary = {
        "folder": str(arguments.folder),
        "entities": graph.entities,
        "triples": graph.triples,
        "relations": graph.relations,
        "groups": graph.groups,
        "features": shapes,
        "megabytes": round(written / 1e6, 1),
        "seconds": round(time.perf_counter() - started, 1),
    }
    if arguments.json:
        print(json.dumps(summary, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in summary.items()))
