"""Relatedness, analogy and coherence on vectors whose answer is known, and against plain loops."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmrns.analysis import semantics
from mmrns.analysis.facts import Facts
from tests.analysis.planted import LEAVES, TREE, planted

NUMBER = TREE + LEAVES
ROWS = np.arange(NUMBER)


@pytest.fixture(scope="module")
def facts():
    return Facts(planted())


def rng(seed=0):
    return np.random.default_rng(seed)


def random_vectors(width=12, seed=0):
    return rng(seed).standard_normal((NUMBER, width))


def test_related_pairs_have_the_graphs_distances_and_balance_them(facts):
    pairs = semantics.related_pairs(facts, ROWS, 120, rng())
    exact = facts.distances(pairs.first, pairs.second)
    np.testing.assert_allclose(pairs.similarity, 1 / (1 + np.diagonal(exact)))
    assert (pairs.first != pairs.second).all()
    _, counts = np.unique(pairs.similarity, return_counts=True)
    assert counts.max() <= 120 // len(counts)
    assert len(counts) == 10  # from capital to capital across the root


def test_paths_of_the_hierarchy_stay_on_it(facts):
    pairs = semantics.related_pairs(facts, ROWS, 200, rng(), relation=1)
    assert max(pairs.first.max(), pairs.second.max()) < TREE
    assert pairs.similarity.min() == pytest.approx(1 / 9)  # leaf to leaf across the root: 8 steps


def test_vectors_that_embed_the_tree_are_related_and_random_ones_are_not(facts):
    # exp(-distance / 4) is a positive definite kernel of a tree's distances, so cosines fall as distances grow. Equal
    # distances differ by rounding, which costs a little of the rank correlation.
    distance = facts.distances(ROWS, ROWS)
    vectors = np.linalg.cholesky(np.exp(-distance / 4) + 1e-9 * np.eye(NUMBER))
    pairs = semantics.related_pairs(facts, ROWS, 300, rng())
    assert semantics.relatedness(vectors, pairs) > 0.99
    assert abs(semantics.relatedness(random_vectors(64), pairs)) < 0.2
    assert semantics.relatedness(np.ones((NUMBER, 3)), pairs) is None


def test_relatedness_is_spearmans(facts):
    pairs = semantics.related_pairs(facts, ROWS, 100, rng())
    vectors = random_vectors()
    cosines = [
        vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])
        for a, b in zip(pairs.first, pairs.second, strict=True)
    ]
    assert semantics.relatedness(vectors, pairs) == pytest.approx(spearmanr(cosines, pairs.similarity).statistic)


def test_an_analogy_asks_for_the_tail_of_another_pair_of_the_same_relation(facts):
    asked = semantics.analogies(facts, ROWS, 200, rng())
    known = {tuple(triple) for triple in facts.triples.tolist()}
    assert len(asked.answers) > 100
    for a, b, c, answers in zip(asked.a, asked.b, asked.c, asked.answers, strict=True):
        relations = [r for r in (0, 1) if (a, r, b) in known]
        assert a != c
        assert all(d not in (a, b) and any((c, r, d) in known for r in relations) for d in answers.tolist())


def test_offsets_that_are_exact_are_found_and_random_ones_are_not(facts):
    vectors = random_vectors(40)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    offset = rng(5).standard_normal(40)
    offset *= 0.3 / np.linalg.norm(offset)
    for leaf in range(LEAVES):
        place = vectors[TREE - LEAVES + leaf] + offset
        vectors[TREE + leaf] = place / np.linalg.norm(place)
    asked = semantics.analogies(facts, ROWS, 300, rng())
    capitals = [q for q, b in enumerate(asked.b) if b >= TREE]
    only = semantics.Analogies(
        asked.a[capitals], asked.b[capitals], asked.c[capitals], [asked.answers[q] for q in capitals]
    )
    accuracy, reciprocal = semantics.analogy(vectors, ROWS, only)
    assert accuracy > 0.95 and reciprocal >= accuracy
    assert semantics.analogy(random_vectors(40, seed=2), ROWS, only)[0] < 0.2


def test_analogy_is_3cosadd_by_a_plain_loop_in_blocks_too(facts, monkeypatch):
    monkeypatch.setattr("mmrns.analysis.semantics._BLOCK", 7)
    rows = np.arange(0, NUMBER, 1)[3:]
    asked = semantics.analogies(facts, rows, 40, rng(1))
    vectors = random_vectors()[rows]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    place = {row: number for number, row in enumerate(rows.tolist())}
    reciprocal = []
    for a, b, c, answers in zip(asked.a.tolist(), asked.b.tolist(), asked.c.tolist(), asked.answers, strict=True):
        target = unit[place[b]] - unit[place[a]] + unit[place[c]]
        target = target / np.linalg.norm(target)
        order = sorted((r for r in place if r not in (a, b, c)), key=lambda r: -unit[place[r]] @ target)
        reciprocal.append(1 / (1 + min(order.index(d) for d in answers.tolist())))
    found = semantics.analogy(vectors, rows, asked)
    assert found == pytest.approx((np.mean([r == 1 for r in reciprocal]), np.mean(reciprocal)))


def test_vectors_that_are_all_the_same_answer_no_analogy(facts):
    asked = semantics.analogies(facts, ROWS, 50, rng())
    accuracy, reciprocal = semantics.analogy(np.ones((NUMBER, 4)), ROWS, asked)
    assert accuracy == 0 and reciprocal < 3 / NUMBER


def test_intruders_stand_out_where_neighbours_share_facts_and_at_chance_otherwise(facts):
    by_facts = facts.shared.toarray() + 0.01 * rng().standard_normal(facts.shared.shape)
    assert semantics.coherence(by_facts, ROWS, facts, 100, rng()) > 0.7
    chance = [semantics.coherence(random_vectors(12, seed), ROWS, facts, 100, rng()) for seed in range(30)]
    assert np.mean(chance) == pytest.approx(1 / 4, abs=0.05)


@pytest.mark.parametrize("rank", [3, 100])
def test_the_intruder_is_the_neighbour_of_its_rank_or_the_last_one(facts, rank, monkeypatch):
    monkeypatch.setattr("mmrns.analysis.semantics._INTRUDER_RANK", rank)
    rows, vectors = ROWS[::2], random_vectors()[::2]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    caught = []
    for query in range(len(rows)):
        order = sorted((o for o in range(len(rows)) if o != query), key=lambda o: -unit[query] @ unit[o])
        group = rows[[query, order[0], order[1], order[min(rank, len(order)) - 1]]]
        shared = [sum(float(facts.overlap(group[[i]], group[[j]])[0]) for j in range(4) if j != i) for i in range(4)]
        least = [value == pytest.approx(min(shared)) for value in shared]
        caught.append(least[3] / sum(least))
    assert semantics.coherence(vectors, rows, facts, len(rows), rng()) == pytest.approx(np.mean(caught))
