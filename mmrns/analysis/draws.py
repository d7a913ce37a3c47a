"""Which vectors, pairs and questions are looked at: drawn once a space, so that random vectors get the same."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmrns.analysis.facts import Facts
from mmrns.analysis.result import Options
from mmrns.analysis.semantics import Analogies, RelatedPairs, analogies, related_pairs
from mmrns.analysis.spaces import Space
from mmrns.evaluation.geometry import positive_pairs

Rows = NDArray[np.int64]

# Pairs are drawn over the whole graph, and those with an end that the space lacks go: this many times too many.
_SURPLUS = 4
LEAST_VECTORS = 5


@dataclass(frozen=True)
class Positives:
    """Pairs of answers of one query, and beside each a pair of its first answer with any entity.

    Attributes:
        first, second, other: (N,) entity rows; first and second answer a query of relation (N,).
    """

    first: Rows
    second: Rows
    other: Rows
    relation: Rows


@dataclass(frozen=True)
class Draws:
    """What is looked at of one space.

    Attributes:
        rows: the sample, ascending; every entity that an analogy asks about is among `candidates`.
        positives: None for relations, and where no query has two answers in the space.
        paths, hierarchy: pairs of places in `rows`; None where the graph has none.
        analogies: None where no relation has two pairs; candidates (M,) are the rows that are ranked.
        of_entities: False for the vectors of relations, which have no facts and no types.
    """

    rows: Rows
    of_entities: bool = True
    positives: Positives | None = None
    paths: RelatedPairs | None = None
    hierarchy: RelatedPairs | None = None
    analogies: Analogies | None = None
    candidates: Rows | None = None

    @property
    def needed(self) -> Rows:
        """Every row whose vector is used, ascending."""
        parts = [self.rows]
        if self.positives:
            parts += [self.positives.first, self.positives.second, self.positives.other]
        if self.candidates is not None:
            parts.append(self.candidates)
        return np.unique(np.concatenate(parts))


def sampled(rows: Rows, options: Options, seed: int = 0) -> Rows:
    """Up to options.sample of the rows, ascending."""
    if len(rows) <= options.sample:
        return rows
    return np.sort(np.random.default_rng([options.seed, seed]).permutation(rows)[: options.sample])


def draw(space: Space, facts: Facts, options: Options) -> Draws:
    """Draw for a space by the options' seed; the names and the vectors of the space play no part."""
    rows = sampled(space.rows, options)
    if not space.of_entities or len(rows) < LEAST_VECTORS:
        return Draws(rows, space.of_entities)
    rng = np.random.default_rng([options.seed, 1])
    hierarchy = facts.taxonomy(options.taxonomy)
    paths = related_pairs(facts, rows, options.pairs, rng)
    in_hierarchy = related_pairs(facts, rows, options.pairs, rng, hierarchy) if hierarchy is not None else None
    questions = analogies(facts, space.rows, options.pairs, rng)
    asked = [questions.a, questions.b, questions.c, *questions.answers]
    return Draws(
        rows,
        space.of_entities,
        _positives(space, rows, facts, options, rng),
        paths if len(paths.first) else None,
        in_hierarchy if in_hierarchy and len(in_hierarchy.first) else None,
        questions if questions.answers else None,
        np.unique(np.concatenate([rows, *asked])) if questions.answers else None,
    )


def _positives(space: Space, rows: Rows, facts: Facts, options: Options, rng: np.random.Generator) -> Positives | None:
    generator = torch.Generator().manual_seed(options.seed)
    drawn = positive_pairs(facts.dataset.answers("train"), _SURPLUS * options.pairs, generator)
    first, second, relation = (part.numpy() for part in drawn)
    there = np.flatnonzero(np.isin(first, space.rows) & np.isin(second, space.rows))[: options.pairs]
    if not len(there):
        return None
    first, second, relation = first[there], second[there], relation[there]
    # Any entity but the first itself: a step of at least 1 from its place.
    other = rng.integers(len(rows), size=len(first))
    other = np.where(rows[other] == first, (other + 1) % len(rows), other)
    return Positives(first, second, rows[other], relation)
