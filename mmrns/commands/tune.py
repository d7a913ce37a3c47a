"""`mmrns tune`: search a configuration's options on valid, on disk, and record what was found."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmrns.errors import UserError

if TYPE_CHECKING:
    from mmrns.experiments.study import Search

HELP = "search a configuration's options on valid; resumable, with pruning, and recorded"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is searched, over what, for how long, and where it is kept."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of the options that are tuned")
    parser.add_argument(
        "--search", type=Path, metavar="FILE", help="YAML file of `option: {low: …, high: …, log: …}` or {choices: […]}"
    )
    parser.add_argument(
        "--trials", type=int, metavar="N", help="trials that end or are pruned, over all calls and processes"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="options of mmrns train for every trial, e.g. steps=2000; best.yaml leaves them out",
    )
    parser.add_argument(
        "--study", metavar="NAME", help="name of the study (default: the configuration's folder and name)"
    )
    parser.add_argument(
        "--pair",
        default="",
        metavar="STUDY",
        help="search as many trials as this study of the same storage, no less like it",
    )
    parser.add_argument(
        "--storage",
        type=Path,
        default=Path("checkpoints/tune/studies.db"),
        metavar="FILE",
        help="SQLite file of the studies (default: checkpoints/tune/studies.db)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="the record is kept in FOLDER/tune/STUDY (default: results)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of what the search draws (default: 0)")
    parser.add_argument(
        "--pruner",
        choices=("median", "none"),
        default="median",
        help="median: stop a trial that is below the median of the others at the same step (default: median)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the trials' run folders, beside the storage")
    parser.add_argument("--show", action="store_true", help="run nothing; print the trials and what mattered")
    parser.add_argument("--json", action="store_true", help="print the trials as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Search, or show."""
    import optuna

    from mmrns.experiments.study import open_study
    from mmrns.experiments.tuning import tune
    from mmrns.experiments.tuning_record import summary
    from mmrns.report.tuning_tables import tuning_markdown

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = _study_name(arguments)
    if arguments.show:
        study = open_study(arguments.storage, name)
    else:
        search, trials = _search(arguments, name)
        results = arguments.results / "tune" / name
        study = tune(search, trials, results, _say, arguments.keep)
        _say(f"recorded in {results}")
    found = summary(study)
    print(json.dumps(found, indent=2) if arguments.json else tuning_markdown(found))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _study_name(arguments: argparse.Namespace) -> str:
    if arguments.study is None and arguments.config is None:
        raise UserError("--config: needed, or --show with --study")
    name = arguments.study
    if name is None:
        file = arguments.config.absolute()
        name = f"{file.parent.name}-{file.stem}"
    if not name or name.startswith(".") or "/" in name:
        raise UserError(f"--study {name}: names a folder too; give a name without a slash")
    return str(name)


def _search(arguments: argparse.Namespace, name: str) -> "tuple[Search, int]":
    """The search that the arguments describe, and how many trials it should have."""
    from mmrns.config_io import load_config
    from mmrns.experiments.search_space import load_search_space
    from mmrns.experiments.settings import read_settings
    from mmrns.experiments.study import Search, pair_trials

    if arguments.config is None or arguments.search is None:
        raise UserError("--config, --search: both are needed to search; with --show neither is")
    if arguments.seed < 0:
        raise UserError(f"--seed {arguments.seed}: must be at least 0")
    settings = read_settings(arguments.set, without=("output", "metric"))
    load_config(settings, arguments.config)
    space = load_search_space(arguments.search, arguments.config, settings)
    search = Search(
        name,
        arguments.storage,
        arguments.config,
        settings,
        space,
        arguments.seed,
        arguments.pruner,
        arguments.pair,
    )
    trials = arguments.trials
    if search.pair:
        paired = pair_trials(search)
        if trials not in (None, paired):
            raise UserError(f"--trials {trials}: --pair {search.pair} has {paired} trials; leave --trials out")
        trials = paired
    if trials is None or trials < 1:
        raise UserError(f"--trials {'' if trials is None else trials}: needs a number of trials from 1")
    return search, trials
