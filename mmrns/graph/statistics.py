"""Facts about relations and entities that breakdowns, checks and reports share."""

import numpy as np
from numpy.typing import NDArray

from mmrns.graph.keys import check_keys

CATEGORIES = ("1-1", "1-N", "N-1", "N-N")

# A side counts as N when its mean number of answers reaches this (Bordes et al., NeurIPS 2013, section 4.3).
MANY = 1.5


def answers_per_query(
    triples: NDArray[np.int64], num_relations: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean number of distinct heads a tail, and of distinct tails a head, of each relation: two (R,) arrays.

    A relation without a triple has 0. UserError as `check_keys`.
    """
    head, relation, tail = triples.T
    entities = int(max(head.max(initial=0), tail.max(initial=0))) + 1
    check_keys(entities, num_relations)
    means = []
    for anchor, answer in ((tail, head), (head, tail)):
        # Triples as numbers, by relation, anchor and answer: sorting these is far quicker than sorting rows.
        keys = (relation * entities + anchor) * entities + answer
        keys.sort()
        queries = keys[_differs_from_last(keys)] // entities
        total = np.bincount(queries // entities, minlength=num_relations)
        distinct = queries[_differs_from_last(queries)] // entities
        means.append(total / np.maximum(np.bincount(distinct, minlength=num_relations), 1))
    return means[0], means[1]


def _differs_from_last(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) bool: the number is not the one before it."""
    return np.append(np.ones(min(len(ordered), 1), dtype=bool), ordered[1:] != ordered[:-1])


def relation_categories(triples: NDArray[np.int64], num_relations: int) -> NDArray[np.int64]:
    """Category of each relation as an index into CATEGORIES: (R,), judged on `triples` (train).

    A relation that they do not hold is 1-1, as it has no query of several answers.
    """
    heads, tails = answers_per_query(triples, num_relations)
    return 2 * (heads >= MANY).astype(np.int64) + (tails >= MANY).astype(np.int64)
