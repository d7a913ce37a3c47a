"""`mmrns train`: every option of Config is a flag."""

import argparse
import json
from pathlib import Path
from typing import Any

from mmrns.config import Config, flag, options_by_section
from mmrns.config_io import load_config
from mmrns.errors import UserError

HELP = "train a model on a dataset, evaluate its best checkpoint, and keep the run in a folder"

# Options that may change when a run goes on: they leave its trajectory as it is, or make it longer.
RESUMABLE = {
    "steps", "epochs", "patience", "device", "threads", "features", "feature_memory_mb", "eval_memory_mb", "log_every",
    "checkpoint_every",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--config, --preset, --resume, --json, and a flag for each option of Config in its section."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of options; flags given beside it win")
    parser.add_argument(
        "--preset", default="", metavar="NAME", help="options of configs/presets/NAME.yaml; they win over --config's"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of a table")
    for section, options in options_by_section().items():
        group = parser.add_argument_group(section)
        for name, option in options.items():
            shown = str(option.description).replace("%", "%%")
            default = f" (default: {option.default})" if option.default not in ("", {}) else ""
            group.add_argument(flag(name), dest=name, default=argparse.SUPPRESS, metavar="VALUE", help=shown + default)


def run(arguments: argparse.Namespace) -> None:
    """Train, or continue, and print the result."""
    given = {name: value for name, value in vars(arguments).items() if name in Config.model_fields}
    config = _config(arguments, given)

    from mmrns.report.tables import metrics_table
    from mmrns.training.loop import train

    metrics = train(config, resume=arguments.resume is not None)
    if not metrics:  # another process of a distributed run prints
        return
    if arguments.json:
        print(json.dumps(metrics, indent=2))
    else:
        print(metrics_table({"test": metrics["test"]}))
        print(f"run folder: {config.run_folder}")


def _config(arguments: argparse.Namespace, given: dict[str, Any]) -> Config:
    if arguments.resume is None:
        return load_config(given, arguments.config, arguments.preset)
    for name in ("config", "preset"):
        if getattr(arguments, name):
            raise UserError(
                f"--{name}: cannot be given with --resume, which reads the run's own config.yaml; drop one of them"
            )

    from mmrns.training.run_folder import RunFolder

    kept = RunFolder(arguments.resume).read_config().model_dump() | {"output": str(arguments.resume)}
    config = load_config({**kept, **given})
    changed = [name for name in given if name not in RESUMABLE and not _same(name, getattr(config, name), kept[name])]
    if changed:
        raise UserError(
            f"{flag(changed[0])}: cannot change when a run is resumed; start a new run with another --output"
        )
    return config


def _same(name: str, now: Any, kept: Any) -> bool:
    """Whether an option is unchanged; a folder may be written in several ways."""
    if name in ("dataset", "output") and now and kept:
        return bool(now == kept or Path(now).resolve() == Path(kept).resolve())
    return bool(now == kept)
