"""Metrics of all test queries and of their parts, each with its interval."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmrns.evaluation.metrics import HITS
from mmrns.experiments.bootstrap import ratio_intervals
from mmrns.graph.statistics import CATEGORIES

METRICS = ("mrr", *(f"hits@{k}" for k in HITS), "mr")
TITLES = {"mrr": "MRR", "hits@1": "Hits@1", "hits@3": "Hits@3", "hits@10": "Hits@10", "mr": "Mean rank", "amri": "AMRI"}
# Fewer queries say too little for an interval.
LEAST_FOR_INTERVAL = 10
# The most frequent relations have a part each.
_MOST_RELATIONS = 20
_CURVE = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000, 100_000)


@dataclass(frozen=True)
class Estimate:
    """A mean over queries and the bounds of its 95 % interval, None where there are too few queries for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Part:
    """Metrics of a part of the test queries.

    Attributes:
        group: what the queries are parted by, for people; name: of the part.
        count: its queries.
        metrics: by name; {} of a part without a query.
    """

    group: str
    name: str
    count: int
    metrics: dict[str, Estimate]


def parts_of(ranks: pd.DataFrame) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """(group, name) -> (Q,) bool: which queries belong to the part; the first is all of them."""
    tail, seen = ranks["direction"].to_numpy() == "tail", ranks["seen"].to_numpy(dtype=bool)
    category = ranks["category"].to_numpy()
    found = {("All", "all queries"): np.ones(len(ranks), dtype=bool)}
    found |= {("Asked for", "tail: (h, r, ?)"): tail, ("Asked for", "head: (?, r, t)"): ~tail}
    found |= {("Relation category", name): category == name for name in CATEGORIES}
    for name in ("image", "text"):
        has = ranks[f"has_{name}"].to_numpy(dtype=bool)
        group = "The answer's " + {"image": "picture", "text": "text"}[name]
        found |= {(group, "has one"): has, (group, "has none"): ~has}
    found |= {("Entities in train", "both seen"): seen, ("Entities in train", "one unseen"): ~seen}
    degree = ranks["degree"].to_numpy()
    cuts = np.unique(np.quantile(degree, [0.25, 0.5, 0.75, 1], method="lower"))
    for low, high in zip([-1, *cuts], cuts, strict=False):  # equal degrees are never parted
        inside = (degree > low) & (degree <= high)
        least = degree[inside].min()
        found["The answer's facts in train", f"{least}" if least == high else f"{least} to {high}"] = inside
    return found


def relations_of(ranks: pd.DataFrame) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """The same of the relations that are most frequent in test, by label."""
    relation = ranks["relation"].to_numpy()
    frequent = ranks["relation"].value_counts().index[:_MOST_RELATIONS]
    labels = {str(r): str(label) for r, label in zip(relation, ranks["relation_label"], strict=True)}
    shared = Counter(labels.values())
    names = {r: labels[r] if shared[labels[r]] == 1 else f"{labels[r]} ({r})" for r in frequent}
    return {("Relation", names[r]): relation == r for r in sorted(frequent, key=lambda r: names[r].casefold())}


def estimates(ranks: pd.DataFrame, values: Mapping[str, NDArray[np.float64]]) -> list[Part]:
    """Every part with its metrics, in the order of `parts_of` and `relations_of`.

    Args:
        ranks: a row a query.
        values: metric -> (Q,) its value of each query, of one run or averaged over seeds.
    """
    parts = parts_of(ranks) | relations_of(ranks)
    inside = np.stack(list(parts.values())).astype(np.float64)  # (parts, Q)
    stacked = np.stack([values[name] for name in METRICS])  # (metrics, Q)
    numerators = by_triple((inside[:, None] * stacked).reshape(-1, stacked.shape[1]))
    denominators = np.repeat(by_triple(inside), len(METRICS), axis=1)
    intervals = ratio_intervals(numerators, denominators).reshape(len(parts), len(METRICS), 2)
    found = []
    for (group, name), where, bounds in zip(parts, inside.astype(bool), intervals, strict=True):
        count = int(where.sum())
        metrics = {
            metric: Estimate(float(values[metric][where].mean()), *_bounds(low_high, count))
            for metric, low_high in zip(METRICS, bounds, strict=True)
            if count
        }
        found.append(Part(group, name, count, metrics))
    return found


def by_triple(queries: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, Q) values of queries as (N, M): the two queries of a triple added, since they are resampled together."""
    half = queries.shape[1] // 2
    return (queries[:, :half] + queries[:, half:]).T


def hits_curve(ranks: pd.DataFrame) -> list[tuple[int, float]]:
    """(k, Hits@k of all queries) for k up to the number of candidates."""
    rank, most = ranks["rank"].to_numpy(), int(ranks["candidates"].max())
    return [(k, float((rank <= k).mean())) for k in (*(k for k in _CURVE if k < most), most)]


def _bounds(low_high: NDArray[np.float64], count: int) -> tuple[float | None, float | None]:
    if count < LEAST_FOR_INTERVAL or not np.isfinite(low_high).all():
        return None, None
    return float(low_high[0]), float(low_high[1])
