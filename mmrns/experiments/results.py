"""Results that are kept: of each finished run what its tables are made of, in a few files that git can hold.

results/<grid>/<group>/<row>/seed-N/metrics.json      as the run wrote it, and SHA-256 of its weights and features
                                    config.yaml       every option, without folders of the machine it ran on
                                    environment.json  versions, commit and the command that repeats it
                                    history.jsonl     validation, loss and the sampler's scalars over the steps
                                    ranks.parquet     a row a test query, small integers
"""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from mmrns.config_file import read_mapping
from mmrns.errors import UserError
from mmrns.evaluation.metrics import HITS
from mmrns.experiments.cells import differences, modalities_used, other_members, other_weights, weights_sha256
from mmrns.experiments.grid import Cell
from mmrns.files import atomic_path, read_json, write_json, write_text
from mmrns.graph.statistics import CATEGORIES
from mmrns.training.history import read_history
from mmrns.training.run_folder import RunFolder

METRICS = ("mrr", *(f"hits@{k}" for k in HITS))
_KEPT_SCALARS = ("valid/mrr", "train/loss", "train/entropy/all", "train/epsilon", "train/hardness", "train/false_neg")
_COMPACT = {"head_query": "bool", "twice_rank": "int32", "category": "int8", "seen": "bool", "degree": "int32"}
_QUERIES = b"queries_sha256"


@dataclass(frozen=True)
class Result:
    """A finished run as results/ keeps it.

    Attributes:
        folder: where it was read from.
        config: options as written, by name.
        environment: versions, git commit and command.
        history: kept scalars by step.
    """

    cell: Cell
    seed: int
    folder: Path
    metrics: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]

    @cached_property
    def ranks(self) -> "CompactRanks":
        """Per-query ranks of test; UserError names a file that cannot be read, or is not of this run's metrics."""
        file = self.folder / "ranks.parquet"
        ranks = CompactRanks.read(file)
        mend = f"remove {self.folder} and publish the run again"
        check_same_ranking(file, {"mrr": float(ranks.reciprocal.mean())}, self.metrics, mend)
        return ranks

    def late_mean(self, scalar: str) -> float | None:
        """Mean of a scalar over the last quarter of its entries; None where the run logged none."""
        values = [line[scalar] for line in self.history if scalar in line]
        return float(np.mean(values[-max(1, len(values) // 4) :])) if values else None


@dataclass(frozen=True)
class CompactRanks:
    """Ranks of Q = 2N test queries: the N head queries, then the N tail queries, in the test file's order.

    Attributes:
        reciprocal: (Q,) 1 / rank.
        head_query: (Q,) the head is asked for.
        category: (Q,) index into CATEGORIES.
        seen: (Q,) head and tail both occur in train.
        degree: (Q,) how often the answer occurs in train, as head or tail.
        queries: SHA-256 of the queries; equal for runs whose ranks can be paired.
    """

    reciprocal: NDArray[np.float64]
    head_query: NDArray[np.bool_]
    category: NDArray[np.int64]
    seen: NDArray[np.bool_]
    degree: NDArray[np.int64]
    queries: str

    @classmethod
    def read(cls, path: Path) -> "CompactRanks":
        """Read what `publish` wrote."""
        try:
            table = pq.read_table(path)
            columns = {name: table[name].to_numpy() for name in _COMPACT}
            queries = table.schema.metadata[_QUERIES].decode()
        except (OSError, KeyError, TypeError, pa.ArrowException) as error:
            raise UserError(f"{path}: cannot be read ({error}); remove its folder and publish the run again") from error
        reciprocal = 2.0 / columns.pop("twice_rank")
        return cls(reciprocal=reciprocal, queries=queries, **columns)


def publish(cell: Cell, seed: int, run_folder: Path, into: Path) -> None:
    """Keep a finished run in `into`; metrics.json goes first and comes last, so that a folder that has it is whole.

    Raises:
        UserError: a file of the run is missing or cannot be read.
    """
    run = RunFolder(run_folder)
    metrics = checked_metrics(run.metrics_file, "delete it and resume the run")
    for member in metrics.get("members", []):  # group/row/seed-N, wherever the runs were
        member["run"] = str(Path(*Path(os.path.normpath(run_folder / member["run"])).parts[-3:]))
    config = cell.config(seed)
    if not cell.members:
        digests = {"weights_sha256": weights_sha256(run_folder), "features_sha256": run.features_sha256()}
        metrics |= {name: digest for name, digest in digests.items() if digest is not None}
    options = read_mapping(run.config_file, str(run.config_file))[0]
    options |= {"dataset": config.dataset, "features": config.features, "output": ""}
    environment = read_json(run.environment_file, "restore it or run the cell anew")
    environment.pop("host", None)
    environment["command"] = "mmrns " + shlex.join(cell.arguments(seed))
    compact = _compacted(run.ranks_file("test"))
    history = [_kept(line) for line in read_history(run.history_file)]
    (into / "metrics.json").unlink(missing_ok=True)
    write_text(into / "config.yaml", yaml.safe_dump(options, sort_keys=False, allow_unicode=True))
    write_json(into / "environment.json", environment)
    write_text(into / "history.jsonl", "".join(json.dumps(line) + "\n" for line in history if len(line) > 1))
    with atomic_path(into / "ranks.parquet") as temporary:
        pq.write_table(compact, temporary, compression="zstd", compression_level=19)
    write_json(into / "metrics.json", metrics)


def _kept(line: dict[str, Any]) -> dict[str, Any]:
    """The scalars of a history line that tables and plots use, to five digits."""
    return {
        name: value if name == "step" else float(f"{value:.5g}")
        for name, value in line.items()
        if name == "step" or name.startswith(_KEPT_SCALARS)
    }


def _compacted(path: Path) -> pa.Table:
    """A run's ranks.parquet without names, as small integers."""
    try:
        table = pd.read_parquet(path)
        columns = {
            "head_query": table["direction"] == "head",
            "twice_rank": table["optimistic"] + table["pessimistic"],
            "category": table["category"].map({name: number for number, name in enumerate(CATEGORIES)}),
            "seen": table["seen"],
            "degree": table["degree"],
        }
        names = table[["head", "relation", "tail", "direction"]].agg("\t".join, axis=1)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{path}: lacks {error}; write it again with: mmrns evaluate {path.parent}") from error
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    compact = pa.table({name: columns[name].to_numpy().astype(kind) for name, kind in _COMPACT.items()})
    return compact.replace_schema_metadata({_QUERIES: digest})


def checked_metrics(path: Path, mend: str) -> dict[str, Any]:
    """A metrics.json that has what tables need; UserError names the file and the mend otherwise."""
    metrics = read_json(path, mend)
    try:
        for split in ("valid", "test"):
            for name in METRICS:
                float(metrics[split]["both"][name])
        float(metrics["train_seconds"]), int(metrics["steps"]), str(metrics["selection"]["split"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is not a whole metrics.json (no {error}); {mend}") from None
    return dict(metrics)


def check_same_ranking(file: Path, means: Mapping[str, float], metrics: dict[str, Any], mend: str) -> None:
    """Raise UserError unless metrics of test, by name, are the means over the ranks in `file`; MRR is among them."""
    kept = metrics["test"]["both"]
    if any(abs(mean - kept[name]) > 1e-9 for name, mean in means.items()):
        raise UserError(
            f"{file}: is not of the same ranking as metrics.json (MRR {means['mrr']:.6f} and {kept['mrr']:.6f}); {mend}"
        )


def kept_results(cell: Cell, root: Path) -> tuple[list[Result], list[str]]:
    """Every kept seed of a cell below results/<grid>, in order, and a line on each that is not to be counted.

    That is one of other options than the cell's, of other triples or features than the seeds before it, or an ensemble
    of other members than are kept and counted. What older results do not say counts as the same.

    Raises:
        UserError: a file of a kept result cannot be read.
    """
    results: list[Result] = []
    others: list[str] = []
    members = {member.row: {kept.seed: kept for kept in kept_results(member, root)[0]} for member in cell.members}
    # What somebody put aside there, such as seed-0-old, is no seed.
    there = (root / cell.group / cell.row).glob("seed-*")
    folders = [path for path in there if path.name[5:].isdecimal() and path.is_dir()]
    for folder in sorted(folders, key=lambda path: int(path.name[5:])):
        mend = f"remove {folder} and publish the run again"
        metrics = checked_metrics(folder / "metrics.json", mend)
        seed = int(folder.name[5:])
        config = read_mapping(folder / "config.yaml", str(folder / "config.yaml"))[0]
        counted = {row: kept[seed].metrics.get("weights_sha256") for row, kept in members.items() if seed in kept}
        changed = [
            *other_members(metrics, cell),
            *differences(config, cell.config(seed)),
            *(
                f"seed {seed} of {row}, which is not counted"
                for row in members
                if row not in counted and (root / cell.group / row / folder.name).is_dir()
            ),
            *other_weights(metrics, counted),
            *_other_data(metrics, results, _uses_features(cell, metrics, seed)),
        ]
        if changed:
            others.append(f"{cell.name} seed {seed} was run with {changed[0]}")
            continue
        environment = read_json(folder / "environment.json", mend)
        results.append(Result(cell, seed, folder, metrics, config, environment, read_history(folder / "history.jsonl")))
    return results, others


def _other_data(metrics: dict[str, Any], before: list[Result], uses_features: bool) -> list[str]:
    """How the data of a seed were others than those of the seeds before it."""
    found = []
    for data in ("triples", "features") if uses_features else ("triples",):
        name = f"{data}_sha256"
        first = next((result for result in before if name in result.metrics), None)
        if first and metrics.get(name) not in (None, first.metrics[name]):
            found.append(f"other {data} than seed {first.seed}")
    return found


def _uses_features(cell: Cell, metrics: dict[str, Any], seed: int) -> bool:
    """Whether features have a part in a result; their part in an ensemble's members is the members' own affair."""
    if cell.members:
        return bool(cell.feature_similarity)
    return bool(modalities_used(cell.config(seed), metrics.get("features", [])))
