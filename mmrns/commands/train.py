"""`mmrns train`: every option of Config is a flag."""

import argparse
import json
from pathlib import Path
from typing import Any

from mmrns.config import Config, flag, options_by_section
from mmrns.config_io import load_config
from mmrns.errors import UserError

HELP = "train a model on a dataset, evaluate its best checkpoint, and keep the run in a folder"


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

    from mmrns.training.continuing import as_begun
    from mmrns.training.run_folder import RunFolder

    run = RunFolder(arguments.resume)
    kept = run.read_config().model_dump() | {"output": str(run.path)}
    return as_begun(load_config({**kept, **given}), run)
