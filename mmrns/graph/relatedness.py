"""How far the triples of one relation repeat those of another, forwards or backwards."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Triples that are joined at once: bounds the memory of a join over a large graph.
_BLOCK = 1 << 20

Rows = NDArray[np.int64]


def related_relations(triples: Rows, num_relations: int, swapped: bool) -> Iterator[tuple[int, int, float, int]]:
    """Pairs of relations with a pair of entities in common, self loops left out.

    Args:
        triples: (N, 3), distinct.
        swapped: match (h, t) of the first with (t, h) of the second, and a relation with itself too;
            otherwise match equal (h, t) of different relations.

    Yields:
        First relation, second relation, share of the first's triples that match one of the second, and the number of
        the first's triples.
    """
    triples = triples[triples[:, 0] != triples[:, 2]]
    total = np.bincount(triples[:, 1], minlength=num_relations)
    counts = np.zeros(0, dtype=np.int64)
    codes = np.zeros(0, dtype=np.int64)
    for place, relation in _matches(triples, triples, swapped):
        found, added = np.unique(triples[place, 1] * num_relations + relation, return_counts=True)
        codes, inverse = np.unique(np.concatenate([codes, found]), return_inverse=True)
        counts = np.bincount(inverse, np.concatenate([counts, added]), len(codes)).astype(np.int64)
    for code, number in zip(codes.tolist(), counts.tolist(), strict=True):
        first, second = divmod(code, num_relations)
        if swapped or first != second:
            yield first, second, number / int(total[first]), int(total[first])


def reversed_pairs(queries: Rows, train: Rows, pairs: set[tuple[int, int]], swapped: bool) -> int:
    """How many query triples have a counterpart in train, through one of the relation pairs (either way round).

    Self loops are left out, as they are their own counterparts.
    """
    queries = queries[queries[:, 0] != queries[:, 2]]
    size = 1 + int(max(queries[:, 1].max(initial=0), train[:, 1].max(initial=0), np.max(list(pairs))))
    allowed = np.unique([one * size + other for pair in pairs for one, other in (pair, pair[::-1])])
    answered = np.zeros(len(queries), dtype=bool)
    for place, relation in _matches(queries, train, swapped):
        answered[place[np.isin(queries[place, 1] * size + relation, allowed)]] = True
    return int(answered.sum())


def _matches(queries: Rows, triples: Rows, swapped: bool) -> Iterator[tuple[Rows, Rows]]:
    """Each query's row with the relation of every triple between its two entities, block by block."""
    size = 1 + int(max(queries[:, [0, 2]].max(initial=0), triples[:, [0, 2]].max(initial=0)))
    stored = triples[:, 0] * size + triples[:, 2]
    order = np.argsort(stored, kind="stable")
    stored, relations = stored[order], triples[order, 1]
    wanted = queries[:, 2] * size + queries[:, 0] if swapped else queries[:, 0] * size + queries[:, 2]
    in_order = np.argsort(wanted, kind="stable")  # neighbours look up neighbours: far fewer cache misses
    for start in range(0, len(wanted), _BLOCK):
        places = in_order[start : start + _BLOCK]
        low = np.searchsorted(stored, wanted[places], side="left")
        number = np.searchsorted(stored, wanted[places], side="right") - low
        within = np.arange(number.sum()) - np.repeat(number.cumsum() - number, number)
        yield np.repeat(places, number), relations[np.repeat(low, number) + within]
