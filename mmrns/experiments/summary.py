"""What a table says of each cell of a grid, computed from the results that are kept."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrns.errors import UserError
from mmrns.experiments.bootstrap import Difference, check_same_queries, paired_difference
from mmrns.experiments.cells import modalities_used
from mmrns.experiments.grid import Cell, Grid, Group
from mmrns.experiments.results import METRICS, CompactRanks, Result, kept_results
from mmrns.graph.statistics import CATEGORIES

SCALARS = {"entropy": "train/entropy/all", "hardness": "train/hardness", "false negatives": "train/false_negative_rate"}


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and their sample standard deviation where there are several."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of one value a seed."""
        return cls(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class CellSummary:
    """A row of a table; the fields after `others` are empty where no seed has been run.

    Attributes:
        seeds: the seeds that are kept.
        others: lines on kept seeds that were run with other options than the cell has now; they are not counted.
        metrics: split -> metric -> spread over seeds, as fractions; without valid where nothing was selected on it, as
            its triples may then have been trained on.
        parts: MRR of parts of test (see `parts_of`; as the group's first run parts it), mean over seeds; None of a
            part without a query.
        scalars: the sampler's means over the last quarter of training and over seeds.
        difference: to the cell's `against`, where both have been run and it was asked for.
        selection: the rule that chose the checkpoint.
        precision: of the numbers that it was trained in: "single", "bf16" or "fp16".
        sees: what the model and its sampler learned from: structure, and the modalities that it used.
    """

    cell: Cell
    seeds: tuple[int, ...]
    others: tuple[str, ...]
    metrics: dict[str, dict[str, Spread]]
    parts: dict[str, float | None]
    scalars: dict[str, float | None]
    difference: Difference | None
    steps: str
    minutes: float | None
    selection: str
    precision: str
    sees: str
    commits: str


@dataclass(frozen=True)
class GroupSummary:
    """A table of cells.

    Attributes:
        counts: queries of test in each of `parts_of`, {} before the first run.
    """

    group: Group
    cells: tuple[CellSummary, ...]
    counts: dict[str, int]


def summarise(grid: Grid, root: Path, differences: bool = True) -> list[GroupSummary]:
    """Every group of a grid from the results kept in `root` (results/<grid>).

    Args:
        differences: compare cells with their `against`, whose bootstrap takes most of the time.
    """
    summaries = []
    for group in grid.groups.values():
        kept = {cell.row: kept_results(cell, root) for cell in grid.cells if cell.group == group.name}
        first = next((results[0] for results, _ in kept.values() if results), None)
        parts = parts_of(first.ranks) if first else {}
        counts = {name: int(where.sum()) for name, where in parts.items()}
        cells = [
            _summary(cell, *kept[cell.row], kept[cell.against][0] if cell.against and differences else [], parts)
            for cell in grid.cells
            if cell.group == group.name
        ]
        summaries.append(GroupSummary(group, tuple(cells), counts))
    return summaries


def parts_of(ranks: CompactRanks) -> dict[str, NDArray[np.bool_]]:
    """Parts of the test queries: relation categories, seen and unseen, quartiles of the answer's degree in train.

    The quartiles are of the degrees over the test queries; equal degrees are never parted, so that quarters may differ
    in size.
    """
    parts = {name: ranks.category == number for number, name in enumerate(CATEGORIES)}
    parts |= {"seen": ranks.seen, "unseen": ~ranks.seen}
    cuts = np.quantile(ranks.degree, [0.25, 0.5, 0.75], method="lower")
    low, high = np.array([-1, *cuts]), np.array([*cuts, ranks.degree.max()])
    for least, most in zip(low, high, strict=True):
        inside = (ranks.degree > least) & (ranks.degree <= most)
        if inside.any():
            here = ranks.degree[inside]
            parts[f"degree {here.min()}-{here.max()}"] = inside
    return parts


def _summary(
    cell: Cell, results: list[Result], others: list[str], against: list[Result], parts: dict[str, NDArray[np.bool_]]
) -> CellSummary:
    metrics = {
        split: {name: Spread.of([result.metrics[split]["both"][name] for result in results]) for name in METRICS}
        for split in ("test", "valid")
        if results and (split == "test" or cell.config().selection == "best")
    }
    ranks = [result.ranks for result in results]
    try:
        check_same_queries(ranks)
    except UserError as error:
        raise UserError(f"{results[0].folder.parent}: {error}") from None
    difference = None
    if results and against:
        try:
            difference = paired_difference(ranks, [r.ranks for r in against])
        except UserError as error:
            raise UserError(f"{results[0].folder.parent} against {against[0].folder.parent}: {error}") from None
    return CellSummary(
        cell=cell,
        seeds=tuple(result.seed for result in results),
        others=tuple(others),
        metrics=metrics,
        parts=_part_means(results, parts),
        scalars={name: _mean(result.late_mean(tag) for result in results) for name, tag in SCALARS.items()},
        difference=difference,
        steps=_joined(f"{result.metrics['steps']}" for result in results),
        minutes=_mean(result.metrics["train_seconds"] / 60 for result in results),
        selection=_joined(selected_by(result.metrics) for result in results),
        precision=_joined(_precision(result) for result in results),
        sees=_joined(_sees(result) for result in results),
        commits=_joined(_commit(result) for result in results),
    )


def _part_means(results: list[Result], parts: dict[str, NDArray[np.bool_]]) -> dict[str, float | None]:
    """MRR of the group's parts, or of the cell's own where it ranks other queries.

    Degrees are counted in what a run trained on, so that rows that hold a slice out and rows that do not would part the
    same queries in two ways.
    """
    if not results:
        return {}
    reciprocal = np.mean([result.ranks.reciprocal for result in results], axis=0)
    if any(len(where) != len(reciprocal) for where in parts.values()):
        parts = parts_of(results[0].ranks)
    return {name: float(reciprocal[where].mean()) if where.any() else None for name, where in parts.items()}


def selected_by(metrics: dict[str, Any]) -> str:
    """What chose a run's checkpoint, e.g. "mrr on valid", "mrr on held-out" or "last step"."""
    selection = metrics["selection"]
    if selection.get("rule") == "last":
        return "last step"
    return f"{str(selection.get('metric')).removeprefix('both.')} on {selection['split']}"


def _precision(result: Result) -> str:
    kept = str(result.config.get("precision", "no"))
    return "single" if kept == "no" else kept


def _sees(result: Result) -> str:
    """Structure, and of the modalities that the run had features for, those that it or its members used."""
    there = result.metrics.get("features", [])
    trained = [cell.config(result.seed) for cell in result.cell.members or (result.cell,)]
    used = dict.fromkeys(name for config in trained for name in modalities_used(config, there))
    used |= dict.fromkeys(result.cell.feature_similarity)
    return " + ".join(["structure", *used])


def _commit(result: Result) -> str:
    """The commit that a run was made with, with a + where files differed from it."""
    commit = str(result.environment.get("git_commit") or "unknown")[:10]
    return commit + ("+" if result.environment.get("git_dirty") else "")


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def _joined(values: Iterable[str]) -> str:
    """Distinct values in their order."""
    return ", ".join(dict.fromkeys(values))
