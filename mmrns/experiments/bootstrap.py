"""Bootstrap over test triples: intervals of metrics, and paired differences between settings on the same queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from mmrns.errors import UserError
from mmrns.experiments.results import CompactRanks

RESAMPLES, CONFIDENCE, SEED = 10_000, 0.95, 0


@dataclass(frozen=True)
class Difference:
    """Mean difference of MRR (ours - theirs) and the bounds of its percentile interval, as fractions."""

    mean: float
    low: float
    high: float


def paired_difference(ours: Sequence[CompactRanks], theirs: Sequence[CompactRanks]) -> Difference:
    """Difference in MRR of two settings with its 95 % interval over test triples.

    A setting's reciprocal rank of a query is its mean over seeds, so the interval says how much the difference
    depends on the choice of test triples; seeds are not resampled. Both queries of a triple stay together in a
    resample, since they share entities, relation and much of their luck (Efron and Tibshirani, 1993, section 8.6: the
    unit of resampling is the unit of independence).

    Raises:
        UserError: the runs rank different queries.
    """
    check_same_queries([*ours, *theirs])
    by_query = _mean_over_seeds(ours) - _mean_over_seeds(theirs)
    return difference_of(by_query.reshape(2, -1).mean(axis=0))


def check_same_queries(runs: Sequence[CompactRanks]) -> None:
    """Raise UserError unless all runs rank the same queries: no others can be paired or averaged."""
    if len({ranks.queries for ranks in runs}) > 1:
        raise UserError("ranks.parquet: the runs to compare rank different test queries; run them on the same dataset")


def difference_of(blocks: NDArray[np.float64]) -> Difference:
    """Mean of the blocks' differences (N,) and its percentile interval over 10,000 resamples of blocks."""
    if len(blocks) == 1:  # of which every resample is the same
        return Difference(*[float(blocks[0])] * 3)
    interval = bootstrap(
        (blocks,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        batch=max(1, 2_000_000 // len(blocks)),  # bounds the memory of resamples held at once
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Difference(float(blocks.mean()), float(interval.low), float(interval.high))


def ratio_intervals(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """95 % percentile intervals of M ratios sum(numerator) / sum(denominator) over N blocks, all from one resampling.

    A metric of a part of the queries is such a ratio: of the values of its queries, over how many there are; so is a
    metric of all of them, and a difference of two. Each resample draws N blocks with replacement, once for all ratios.

    Args:
        numerators, denominators: (N, M), a row a block, e.g. a test triple with its two queries.

    Returns:
        (M, 2): low and high; NaN where a ratio has nothing in its denominator.
    """
    blocks, ratios = numerators.shape
    both = np.concatenate([numerators, denominators], axis=1)
    generator = np.random.default_rng(SEED)
    found = np.empty((RESAMPLES, ratios))
    batch = max(1, 2_000_000 // blocks)
    for start in range(0, RESAMPLES, batch):
        size = min(batch, RESAMPLES - start)
        drawn = generator.integers(blocks, size=(size, blocks)) + blocks * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * blocks).reshape(size, blocks)
        sums = counts @ both
        with np.errstate(invalid="ignore", divide="ignore"):
            found[start : start + size] = sums[:, :ratios] / sums[:, ratios:]
    found[~np.isfinite(found)] = np.nan
    empty = denominators.sum(axis=0) == 0
    found[:, empty] = 0
    tail = (1 - CONFIDENCE) / 2
    intervals: NDArray[np.float64] = np.nanquantile(found, [tail, 1 - tail], axis=0).T
    intervals[empty] = np.nan
    return intervals


def _mean_over_seeds(runs: Sequence[CompactRanks]) -> NDArray[np.float64]:
    return np.asarray(np.mean([ranks.reciprocal for ranks in runs], axis=0))
