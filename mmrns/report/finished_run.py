"""A finished run as its files tell it: nothing of the model or the graph is read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.evaluation.metrics import HITS
from mmrns.experiments.results import check_same_ranking, checked_metrics
from mmrns.files import read_json
from mmrns.inference.answerer import refuse_ensemble
from mmrns.training.history import read_history
from mmrns.training.run_folder import RunFolder

_TRIPLE = ["head", "relation", "tail"]
_COLUMNS = {
    *_TRIPLE, "head_label", "relation_label", "tail_label", "direction", "rank", "candidates", "category", "has_image",
    "has_text", "seen", "degree",
}  # fmt: skip


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        name: the folder's name.
        metrics, environment: metrics.json and environment.json.
        history: history.jsonl, a mapping of scalars a line.
        ranks: ranks.parquet of test: a row a query, first N for heads, then N for tails, in the test file's order.
    """

    name: str
    folder: RunFolder
    config: Config
    metrics: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]
    ranks: pd.DataFrame

    @cached_property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """Metric -> (Q,) its value of each test query; the metric is their mean."""
        rank = self.ranks["rank"].to_numpy(dtype=np.float64)
        return {"mrr": 1 / rank, "mr": rank} | {f"hits@{k}": (rank <= k).astype(np.float64) for k in HITS}


def curve(history: list[dict[str, Any]], scalar: str) -> tuple[list[float], list[float]]:
    """Steps and values of a scalar of a history; empty where it was not logged."""
    lines = [line for line in history if isinstance(line.get(scalar), int | float) and "step" in line]
    return [line["step"] for line in lines], [line[scalar] for line in lines]


def scalars(history: list[dict[str, Any]], prefix: str) -> list[str]:
    """Names of the scalars that start so, in the order of the log."""
    return list(dict.fromkeys(name for line in history for name in line if name.startswith(prefix)))


def read_run(folder: Path) -> FinishedRun:
    """Read a run folder.

    Raises:
        UserError: not a run folder; an ensemble; a run that has not ended; a file that is missing, damaged, or of
            other queries.
    """
    run = RunFolder(folder)
    config = run.read_config()
    refuse_ensemble(run)
    history = read_history(run.history_file)
    if not run.metrics_file.is_file():
        step = f"its log ends at step {history[-1].get('step')}" if history else "nothing is logged yet"
        raise UserError(
            f"{folder}: has not ended (no metrics.json; {step}); wait for it, or continue it with: "
            f"mmrns train --resume {folder}"
        )
    metrics = checked_metrics(run.metrics_file, "delete it and resume the run")
    ranks = _read_ranks(run.ranks_file("test"))
    environment = read_json(run.environment_file, "restore it from the folder that mmrns train wrote")
    if not isinstance(environment, dict):
        raise UserError(f"{run.environment_file}: is not a JSON object; restore it from the folder mmrns train wrote")
    found = FinishedRun(folder.resolve().name, run, config, metrics, environment, history, ranks)
    means = {name: float(found.values[name].mean()) for name in ("mrr", "hits@10")}
    check_same_ranking(run.ranks_file("test"), means, metrics, "delete metrics.json and resume the run")
    return found


def _read_ranks(path: Path) -> pd.DataFrame:
    mend = f"write it again with: mmrns evaluate {path.parent}"
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({error}); {mend}") from error
    missing = sorted(_COLUMNS - set(table.columns))
    if missing:
        raise UserError(f"{path}: has no column {missing[0]}; {mend}")
    half = len(table) // 2
    halves = table[_TRIPLE].iloc[:half], table[_TRIPLE].iloc[half:]
    if not half or not np.array_equal(*(part.to_numpy() for part in halves)):
        raise UserError(f"{path}: does not hold both queries of every test triple; {mend}")
    return table
