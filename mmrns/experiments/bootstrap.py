"""Paired bootstrap between two settings on the same test queries."""

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
    if len({ranks.queries for ranks in (*ours, *theirs)}) > 1:
        raise UserError("ranks.parquet: the runs to compare rank different test queries; run them on the same dataset")
    by_query = _mean_over_seeds(ours) - _mean_over_seeds(theirs)
    return difference_of(by_query.reshape(2, -1).mean(axis=0))


def difference_of(blocks: NDArray[np.float64]) -> Difference:
    """Mean of the blocks' differences (N,) and its percentile interval over 10,000 resamples of blocks."""
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


def _mean_over_seeds(runs: Sequence[CompactRanks]) -> NDArray[np.float64]:
    return np.asarray(np.mean([ranks.reciprocal for ranks in runs], axis=0))
