"""The measures of one space: each on its vectors, and once more on random ones of the same shape."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmrns.analysis import categories, collapse, semantics
from mmrns.analysis.draws import LEAST_VECTORS, Draws, draw
from mmrns.analysis.facts import Facts
from mmrns.analysis.guide import measure
from mmrns.analysis.result import Options, SpaceQuality
from mmrns.analysis.spaces import Space
from mmrns.evaluation.geometry import alignment, uniformity, uniformity_of_pairs

Rows = NDArray[np.int64]
Vectors = NDArray[np.float64]
Under = Callable[[Rows, Rows], Vectors]
Found = Iterator[tuple[str, float | None, int]]
"""Name, value and number of vectors, pairs or questions of each measure."""

_LONGEST_SPECTRUM = 256


@dataclass(frozen=True)
class Table:
    """The vectors of the drawn rows.

    Attributes:
        draws: what was drawn.
        vectors: of draws.needed.
        under: of entities under relations, for vectors that depend on them.
    """

    draws: Draws
    vectors: Vectors
    under: Under | None = None

    @cached_property
    def sample(self) -> Vectors:
        """(N, d) vectors of the sample."""
        return self.of(self.draws.rows)

    def of(self, rows: Rows) -> Vectors:
        """Vectors of drawn rows."""
        return self.vectors[np.searchsorted(self.draws.needed, rows)]

    def paired(self, rows: Rows, relations: Rows) -> Tensor:
        """Vectors of drawn rows, each under its relation where the space knows of relations."""
        return torch.from_numpy(self.of(rows) if self.under is None else self.under(rows, relations))


def quality(space: Space, facts: Facts, options: Options) -> SpaceQuality:
    """Every measure that applies to a space, beside that of independent normal vectors in its place."""
    draws = draw(space, facts, options)
    vectors = space.gather(draws.needed)
    noise = np.random.default_rng([options.seed, 2]).standard_normal(vectors.shape)
    tables = Table(draws, vectors, space.under), Table(draws, noise)
    spectra = [collapse.spectrum(table.sample) for table in tables]
    found, random = ([*_measures(table, s, facts, options)] for table, s in zip(tables, spectra, strict=True))
    beside = {name: value for name, value, _ in random}
    short, short_random = ([round(float(x), 6) for x in shares[:_LONGEST_SPECTRUM]] for shares in spectra)
    return SpaceQuality(
        name=space.name,
        title=space.title,
        vectors=len(space.rows),
        sampled=len(draws.rows),
        width=space.width,
        measures=[measure(name, value, beside.get(name), count) for name, value, count in found],
        spectrum=short,
        random_spectrum=short_random,
    )


def _measures(table: Table, shares: Vectors, facts: Facts, options: Options) -> Found:
    if len(table.draws.rows) < LEAST_VECTORS:
        return
    yield from _spread(table)
    yield from _collapse(table.sample, shares)
    yield from _semantics(table, facts, options)
    yield from _categories(table, facts, options)


def _spread(table: Table) -> Found:
    """Alignment and uniformity; where vectors depend on a relation, pairs are compared under their query's."""
    if (drawn := table.draws.positives) is not None:
        first, second, other = (table.paired(rows, drawn.relation) for rows in (drawn.first, drawn.second, drawn.other))
        aligned, any_two = float(alignment(first, second)), float(alignment(first, other))
        yield "alignment", aligned, len(first)
        yield "alignment_contrast", aligned / any_two if any_two > 0 else None, len(first)
        if table.under is not None:
            yield "uniformity", float(uniformity_of_pairs(first, other)), len(first)
            return
    number = len(table.sample)
    yield "uniformity", float(uniformity(torch.from_numpy(table.sample))), number * (number - 1) // 2


def _collapse(vectors: Vectors, shares: Vectors) -> Found:
    number = len(vectors)
    yield "effective_rank", collapse.effective_rank(shares), number
    yield "top_share", collapse.top_share(shares), number
    yield "mean_cosine", collapse.mean_cosine(vectors), number * (number - 1) // 2
    yield "dead_dimensions", collapse.dead_dimensions(vectors), vectors.shape[1]
    if number > 2 * collapse.NEIGHBOURS:
        yield "hubness", collapse.hubness(vectors), number


def _semantics(table: Table, facts: Facts, options: Options) -> Found:
    draws = table.draws
    for name, pairs in (("relatedness", draws.paths), ("relatedness_taxonomy", draws.hierarchy)):
        if pairs is not None:
            yield name, semantics.relatedness(table.sample, pairs), len(pairs.first)
    if draws.analogies is not None and draws.candidates is not None:
        accuracy, reciprocal = semantics.analogy(table.of(draws.candidates), draws.candidates, draws.analogies)
        yield "analogy_accuracy", accuracy, len(draws.analogies.answers)
        yield "analogy_mrr", reciprocal, len(draws.analogies.answers)
    if draws.of_entities:
        rng = np.random.default_rng([options.seed, 3])
        value = semantics.coherence(table.sample, draws.rows, facts, options.pairs, rng)
        yield "coherence", value, min(options.pairs, len(draws.rows))


def _categories(table: Table, facts: Facts, options: Options) -> Found:
    if not table.draws.of_entities:
        return
    places, types = facts.typed(table.draws.rows)
    if len(set(types)) < 2:
        return
    vectors = table.sample[places]
    for judge in (categories.clusters, categories.probe):
        for name, value in judge(vectors, types, options.seed).items():
            yield name, value, len(types)
