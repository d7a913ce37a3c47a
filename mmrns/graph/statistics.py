"""Facts about relations and entities that breakdowns, checks and reports share."""

import numpy as np
from numpy.typing import NDArray

CATEGORIES = ("1-1", "1-N", "N-1", "N-N")

# A side counts as N when its mean number of answers reaches this (Bordes et al., NeurIPS 2013, section 4.3).
MANY = 1.5


def answers_per_query(
    triples: NDArray[np.int64], num_relations: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean number of distinct heads a tail, and of distinct tails a head, of each relation: two (R,) arrays.

    A relation without a triple has 0.
    """
    distinct = np.unique(triples, axis=0)
    total = np.bincount(distinct[:, 1], minlength=num_relations)
    means = []
    for anchor in (2, 0):
        queries = np.unique(distinct[:, [anchor, 1]], axis=0)
        means.append(total / np.maximum(np.bincount(queries[:, 1], minlength=num_relations), 1))
    return means[0], means[1]


def relation_categories(triples: NDArray[np.int64], num_relations: int) -> NDArray[np.int64]:
    """Category of each relation as an index into CATEGORIES: (R,), judged on `triples` (train)."""
    heads, tails = answers_per_query(triples, num_relations)
    return 2 * (heads >= MANY).astype(np.int64) + (tails >= MANY).astype(np.int64)
