"""Ranking metrics: MRR, MR, AMRI, Hits@k."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrns.evaluation.ranking import Ranks

HITS = (1, 3, 10)


def ranking_metrics(ranks: Ranks, where: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Metrics of the queries where `where` (Q,) holds (all by default), as fractions.

    mrr: mean of 1 / rank. mr: mean rank. hits@k: share of ranks <= k. amri: 1 - (mr - 1) / (E[mr] - 1), 0 for random
    scores and 1 at best, with E[mr] the mean of (candidates + 1) / 2 (Berrendorf et al., 2020). count: queries.
    Metrics of no query are None.
    """
    rank = ranks.rank if where is None else ranks.rank[where]
    candidates = ranks.candidates if where is None else ranks.candidates[where]
    if not len(rank):
        return dict.fromkeys(("mrr", "mr", "amri", *(f"hits@{k}" for k in HITS))) | {"count": 0}
    mean_rank = float(rank.mean())
    expected = float(((candidates + 1) / 2).mean())
    return {
        "mrr": float((1 / rank).mean()),
        "mr": mean_rank,
        "amri": 1 - (mean_rank - 1) / (expected - 1) if expected > 1 else None,
        **{f"hits@{k}": float((rank <= k).mean()) for k in HITS},
        "count": len(rank),
    }
