"""Several runs side by side, as plain data: each with its intervals, and how they differ on the same test queries."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmrns.errors import UserError
from mmrns.experiments.bootstrap import Difference, ratio_intervals
from mmrns.experiments.cells import MACHINE_OPTIONS
from mmrns.experiments.summary import Spread, selected_by
from mmrns.report.estimates import METRICS, Part, by_triple, estimates, hits_curve
from mmrns.report.finished_run import FinishedRun, read_run

_QUERY = ["head", "relation", "tail", "direction"]
_SHOWN, _OF_ONE_RELATION = 8, 2
_SEED = re.compile(r"[-_. ]*(seed)?[-_. ]*\d+$")


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: for people; runs: names of their folders; seeds: theirs.
        metrics, histories, environments: of each run; config: options of the first.
        test, valid: metric -> mean and standard deviation over seeds; valid is {} where nothing was selected on it, as
            its triples may then have been trained on.
        selected_by: the rule that chose the checkpoint.
        steps: where the runs ended, each number once; seconds: of training.
        parts: of test, of each query's mean over seeds; hits: (k, Hits@k) of the first run.
    """

    name: str
    runs: list[str]
    seeds: list[int]
    metrics: list[dict[str, Any]]
    histories: list[list[dict[str, Any]]]
    environments: list[dict[str, Any]]
    config: dict[str, Any]
    test: dict[str, Spread]
    valid: dict[str, Spread]
    selected_by: str
    steps: list[int]
    seconds: Spread
    parts: list[Part]
    hits: list[tuple[int, float]]


@dataclass(frozen=True)
class Compared:
    """A setting less the first one, by metric, with intervals of a paired bootstrap over test triples."""

    name: str
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Moved:
    """A test query and its rank by setting, averaged over seeds."""

    head: str
    relation: str
    tail: str
    asks: str
    ranks: list[float]


@dataclass(frozen=True)
class Comparison:
    """Settings on the same test queries.

    Attributes:
        dataset: its name; queries: of test.
        changed: option -> its value by setting, where not all are the same.
        compared: each setting but the first.
        gained, lost: queries whose reciprocal rank differs most between the first two settings, in favour of the
            second and of the first; [] with one setting.
    """

    dataset: str
    queries: int
    settings: list[Setting]
    changed: dict[str, list[Any]]
    compared: list[Compared]
    gained: list[Moved]
    lost: list[Moved]


def compare(folders: Sequence[Path]) -> Comparison:
    """Read and compare finished runs.

    Raises:
        UserError: as read_run; a run given twice, or a seed of one setting; runs that rank different test queries.
    """
    found: dict[Path, FinishedRun] = {}
    for folder in folders:
        if folder.resolve() in found:
            raise UserError(f"{folder}: given twice; give each run once")
        found[folder.resolve()] = read_run(folder)
    runs = list(found.values())
    first = runs[0]
    for run in runs[1:]:
        if not np.array_equal(run.ranks[_QUERY].to_numpy(), first.ranks[_QUERY].to_numpy()):
            raise UserError(
                f"{run.folder.path}: ranks other test queries than {first.folder.path}; compare runs on one dataset"
            )
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(repr(_options(run)), []).append(run)
    for members in groups.values():
        of_seed: dict[int, FinishedRun] = {}
        for run in members:
            other = of_seed.setdefault(run.config.seed, run)
            if other is not run:
                raise UserError(
                    f"{run.folder.path}: has the setting and the seed of {other.folder.path}; give one of them"
                )
    names = _names(list(groups.values()))
    settings = [_setting(name, members, first.ranks) for name, members in zip(names, groups.values(), strict=True)]
    means = [_mean_values(members) for members in groups.values()]
    options = [_options(members[0]) for members in groups.values()]
    changed = {
        name: [given.get(name) for given in options]
        for name in dict.fromkeys(name for given in options for name in given)
        if len({repr(given.get(name)) for given in options}) > 1
    }
    compared = [
        Compared(setting.name, _differences(mean, means[0]))
        for setting, mean in zip(settings[1:], means[1:], strict=True)
    ]
    gained = lost = []
    if len(settings) > 1:
        gain = means[1]["mrr"] - means[0]["mrr"]
        ranks = [np.mean([run.values["mr"] for run in members], axis=0) for members in groups.values()]
        gained, lost = (_moved(first.ranks, sign * gain, ranks) for sign in (1, -1))
    return Comparison(
        dataset=str(first.metrics["dataset"]),
        queries=len(first.ranks),
        settings=settings,
        changed=changed,
        compared=compared,
        gained=gained,
        lost=lost,
    )


def _options(run: FinishedRun) -> dict[str, Any]:
    """What makes a setting: every option but the seed and what the machine decides; a dataset by its folder's name.

    And the SHA-256 of the features, wherever they lie.
    """
    values = run.config.model_dump()
    values["dataset"] = Path(values["dataset"]).name
    options = {name: value for name, value in values.items() if name not in {*MACHINE_OPTIONS, "seed"}}
    return options | {"features": (run.folder.features_sha256() or "")[:12]}


def _names(groups: list[list[FinishedRun]]) -> list[str]:
    """A name a setting: its folder's, without the seed where there are several; never the same twice."""
    names = [_SEED.sub("", runs[0].name) if len(runs) > 1 else runs[0].name for runs in groups]
    parents = [runs[0].folder.path.resolve().parent.name for runs in groups]
    # Folders such as seed-0 are named by the one that holds them.
    names = [parent if not name or _SEED.fullmatch(name) else name for name, parent in zip(names, parents, strict=True)]
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


def _setting(name: str, runs: list[FinishedRun], parted: pd.DataFrame) -> Setting:
    """The setting of some runs.

    Args:
        name: of the setting.
        runs: differing in their seed alone.
        parted: ranks by whose columns the queries are parted. Degrees and categories are counted in what a run trained
            on and pictures in its features, so that each setting's own would part the same queries in other ways.
    """

    def spread(split: str) -> dict[str, Spread]:
        return {metric: Spread.of([run.metrics[split]["both"][metric] for run in runs]) for metric in METRICS}

    return Setting(
        name=name,
        runs=[run.name for run in runs],
        seeds=[run.config.seed for run in runs],
        metrics=[run.metrics for run in runs],
        histories=[run.history for run in runs],
        environments=[run.environment for run in runs],
        config=runs[0].config.model_dump(),
        test=spread("test"),
        valid=spread("valid") if runs[0].metrics["selection"].get("rule") != "last" else {},
        selected_by=selected_by(runs[0].metrics),
        steps=sorted({int(run.metrics["steps"]) for run in runs}),
        seconds=Spread.of([float(run.metrics["train_seconds"]) for run in runs]),
        parts=estimates(parted, _mean_values(runs)),
        hits=hits_curve(runs[0].ranks),
    )


def _mean_values(runs: list[FinishedRun]) -> dict[str, NDArray[np.float64]]:
    return {name: np.mean([run.values[name] for run in runs], axis=0) for name in METRICS}


def _differences(ours: dict[str, NDArray[np.float64]], theirs: dict[str, NDArray[np.float64]]) -> dict[str, Difference]:
    """Every metric's paired difference; a triple's two queries stay together, seeds are averaged, not resampled."""
    gain = np.stack([ours[name] - theirs[name] for name in METRICS])
    numerators = by_triple(gain)
    bounds = ratio_intervals(numerators, np.full_like(numerators, 2.0))
    return {
        name: Difference(float(values.mean()), float(low), float(high))
        for name, values, (low, high) in zip(METRICS, gain, bounds, strict=True)
    }


def _moved(table: pd.DataFrame, gain: NDArray[np.float64], ranks: list[NDArray[np.float64]]) -> list[Moved]:
    """The queries that gain most, no more than two of a relation."""
    order = np.argsort(-gain, kind="stable")
    rows = table.iloc[order[gain[order] > 0]]
    rows = rows[rows.groupby("relation").cumcount() < _OF_ONE_RELATION].head(_SHOWN)
    places = table.index.get_indexer(rows.index)
    return [
        Moved(
            row["head_label"],
            row["relation_label"],
            row["tail_label"],
            row["direction"],
            [float(of_setting[place]) for of_setting in ranks],
        )
        for place, row in zip(places, rows.to_dict("records"), strict=True)
    ]
