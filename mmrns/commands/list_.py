"""`mmrns list`: what can be chosen."""

import argparse
import json
from collections.abc import Callable, Mapping

from mmrns.plugins import choices, first_line

HELP = "list models, samplers, encoders, losses or datasets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to list, --json."""
    parser.add_argument("what", choices=tuple(_LISTS), help="what to list")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print a line a choice: its name and what it is."""
    entries = _LISTS[arguments.what]()
    if arguments.json:
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    width = max((len(name) for name in entries), default=0)
    for name, explanation in entries.items():
        print(f"{name.ljust(width)}  {explanation}")


# Imported when asked for: torch takes a second that `mmrns --help` does not have.
def _models() -> dict[str, str]:
    from mmrns.scoring import ScoringFunction

    return _described(choices("mmrns.scoring", ScoringFunction))


def _samplers() -> dict[str, str]:
    from mmrns.negatives import NegativeSampler

    return _described(choices("mmrns.negatives", NegativeSampler))


def _encoders() -> dict[str, str]:
    from mmrns.encoders import EntityEncoder

    return _described(choices("mmrns.encoders", EntityEncoder))


def _losses() -> dict[str, str]:
    from mmrns.losses import losses

    return _described(losses())


def _described(found: Mapping[str, object]) -> dict[str, str]:
    return {name: first_line(thing) for name, thing in found.items()}


def _datasets() -> dict[str, str]:
    from mmrns.graph.dataset import known_datasets

    return {folder.name: str(folder) for folder in known_datasets()}


_LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "models": _models,
    "samplers": _samplers,
    "encoders": _encoders,
    "losses": _losses,
    "datasets": _datasets,
}
