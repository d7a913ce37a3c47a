"""`mmrns list`: what can be chosen."""

import argparse
import json
from collections.abc import Callable

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


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def _models() -> dict[str, str]:
    from mmrns.plugins import choices
    from mmrns.scoring import ScoringFunction

    return {name: _first_line(found) for name, found in choices("mmrns.scoring", ScoringFunction).items()}


def _samplers() -> dict[str, str]:
    from mmrns.negatives import NegativeSampler
    from mmrns.plugins import choices

    return {name: _first_line(found) for name, found in choices("mmrns.negatives", NegativeSampler).items()}


def _encoders() -> dict[str, str]:
    from mmrns.encoders import EntityEncoder
    from mmrns.plugins import choices

    return {name: _first_line(found) for name, found in choices("mmrns.encoders", EntityEncoder).items()}


def _losses() -> dict[str, str]:
    import mmrns.losses

    found = {name: getattr(mmrns.losses, name) for name in mmrns.losses.__all__}
    return {name: _first_line(loss) for name, loss in found.items() if name.endswith("_loss")}


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
