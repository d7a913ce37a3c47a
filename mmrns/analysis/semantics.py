"""Whether nearness means likeness: relatedness, analogy, coherence (Schnabel et al., EMNLP 2015)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from mmrns.analysis.facts import Facts

Vectors = NDArray[np.float64]
Rows = NDArray[np.int64]

_SOURCES = 100
_INTRUDER_RANK = 100
# A question with more answers asks little, and each of them is a candidate.
_MOST_ANSWERS = 100
# Questions that are ranked at once: bounds the memory, and changes no result.
_BLOCK = 256


@dataclass(frozen=True)
class RelatedPairs:
    """Pairs of places in a sample, and how near the graph says they are: 1 / (1 + shortest path), higher is nearer."""

    first: Rows
    second: Rows
    similarity: NDArray[np.float64]


def related_pairs(
    facts: Facts, rows: Rows, number: int, rng: np.random.Generator, relation: int | None = None
) -> RelatedPairs:
    """Up to `number` connected pairs of entities among `rows`, from up to 100 sources, each distance alike often.

    Without that balance nearly all pairs of a small world lie at two or three distances.

    Args:
        relation: measure paths on its edges only; then 1 / (1 + path) is WordNet's path similarity.
    """
    allowed = np.arange(len(rows))
    if relation is not None:
        ends = facts.triples[facts.triples[:, 1] == relation][:, [0, 2]]
        allowed = np.flatnonzero(np.isin(rows, ends))
    sources = rng.permutation(allowed)[:_SOURCES]
    if not len(sources):
        return RelatedPairs(sources, sources, np.zeros(0))
    distance = facts.distances(rows[sources], rows, relation)
    distance[np.arange(len(sources)), sources] = np.inf
    there = np.unique(distance[np.isfinite(distance)])
    chosen = []
    for length in there:
        places = np.argwhere(distance == length)
        chosen.append(rng.permutation(places)[: max(1, number // len(there))])
    at = np.concatenate(chosen) if chosen else np.zeros((0, 2), dtype=np.int64)
    return RelatedPairs(sources[at[:, 0]], at[:, 1], 1 / (1 + distance[at[:, 0], at[:, 1]]))


def relatedness(vectors: Vectors, pairs: RelatedPairs) -> float | None:
    """Spearman's rank correlation of the pairs' cosines with their similarity in the graph; None when undefined."""
    unit = normalize(vectors)
    cosines = (unit[pairs.first] * unit[pairs.second]).sum(1)
    if len(cosines) < 3 or np.ptp(cosines) == 0 or np.ptp(pairs.similarity) == 0:
        return None
    return float(spearmanr(cosines, pairs.similarity).statistic)


@dataclass(frozen=True)
class Analogies:
    """Questions a : b = c : ?, where (a, r, b) and (c, r, d) are facts of one relation.

    Attributes:
        a, b, c: (Q,) entity rows.
        answers: for each question the entity rows d with (c, r, d) a fact.
    """

    a: Rows
    b: Rows
    c: Rows
    answers: list[Rows]


def analogies(facts: Facts, rows: Rows, number: int, rng: np.random.Generator) -> Analogies:
    """Up to `number` questions over entities among `rows`, relations with two pairs or more alike often."""
    inside = facts.triples[np.isin(facts.triples[:, 0], rows) & np.isin(facts.triples[:, 2], rows)]
    inside = inside[inside[:, 0] != inside[:, 2]]
    relations = [r for r in np.unique(inside[:, 1]) if len(np.unique(inside[inside[:, 1] == r, 0])) > 1]
    a, b, c, answers = [], [], [], []
    for relation in relations:
        pairs = inside[inside[:, 1] == relation][:, [0, 2]]
        for _ in range(max(1, number // len(relations))):
            first, second = pairs[rng.integers(len(pairs), size=2)]
            tails = pairs[pairs[:, 0] == second[0], 1]
            tails = tails[(tails != first[0]) & (tails != first[1])]
            # b itself is never an answer of 3CosAdd, so a question whose only answer is b cannot be put.
            if first[0] != second[0] and 0 < len(tails) <= _MOST_ANSWERS:
                a.append(first[0])
                b.append(first[1])
                c.append(second[0])
                answers.append(tails)
    a_rows, b_rows, c_rows = (np.array(part, dtype=np.int64) for part in (a, b, c))
    return Analogies(a_rows, b_rows, c_rows, answers)


def analogy(vectors: Vectors, rows: Rows, questions: Analogies) -> tuple[float, float]:
    """Accuracy and mean reciprocal rank of b - a + c by cosine (3CosAdd; Mikolov et al., NAACL 2013).

    Args:
        vectors: (N, d) of `rows` (N,), ascending: the candidates, of which a, b and c take no part.
    """
    unit = normalize(vectors)
    reciprocal = np.zeros(len(questions.answers))
    for start in range(0, len(reciprocal), _BLOCK):
        block = slice(start, start + _BLOCK)
        a, b, c = (np.searchsorted(rows, part[block]) for part in (questions.a, questions.b, questions.c))
        cosines = normalize(unit[b] - unit[a] + unit[c]) @ unit.T
        for part in (a, b, c):
            cosines[np.arange(len(a)), part] = -np.inf
        for place, answers in enumerate(questions.answers[block]):
            found = cosines[place]
            best = found[np.searchsorted(rows, answers)].max()
            # Ties at their mean, as in the evaluation of links: equal vectors must not look like right ones.
            rank = 1 + (found > best).sum() + ((found == best).sum() - 1) / 2
            reciprocal[start + place] = 1 / rank
    return float((reciprocal == 1).mean()), float(reciprocal.mean())


def coherence(vectors: Vectors, rows: Rows, facts: Facts, number: int, rng: np.random.Generator) -> float:
    """Share of groups whose intruder the graph finds; 1/4 is chance.

    A group is an entity, its neighbours of ranks 1 and 2 by cosine, and that of rank 100 (the last where there are
    fewer), the intruder. In place of a person, the graph judges: it marks the member that shares the fewest facts with
    the other three, by Jaccard overlap; ties are shared.
    """
    unit = normalize(vectors)
    last = min(_INTRUDER_RANK, len(rows) - 1)
    queries = rng.permutation(len(rows))[:number]
    # Rows that coincide come in an arbitrary order; it must not be that of the graph's names.
    order = rng.permutation(len(rows))
    nearest = NearestNeighbors(n_neighbors=last + 1, algorithm="brute").fit(unit[order])
    found = order[nearest.kneighbors(unit[queries], return_distance=False)]
    groups = []
    for query, neighbours in zip(queries, found, strict=True):
        others = neighbours[neighbours != query]
        groups.append([query, others[0], others[1], others[last - 1]])
    group = rows[np.array(groups)]
    with_others = np.zeros(group.shape)
    for one in range(4):
        for other in range(one):
            shared = facts.overlap(group[:, one], group[:, other])
            with_others[:, one] += shared
            with_others[:, other] += shared
    # The sums come in different orders, so equal ones may differ by rounding.
    least = np.isclose(with_others, with_others.min(1, keepdims=True))
    return float((least[:, 3] / least.sum(1)).mean())
