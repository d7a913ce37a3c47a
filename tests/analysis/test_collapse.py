"""Measures of collapse on inputs whose answer is known: collapsed, orthogonal, clustered, random."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from mmrns.analysis import collapse

random = np.random.default_rng(0).standard_normal


def rank(vectors):
    return collapse.effective_rank(collapse.spectrum(vectors))


def test_effective_rank_of_an_orthogonal_frame_is_its_size_and_of_one_direction_is_one():
    assert rank(3 * np.eye(7)) == pytest.approx(7)
    assert rank(np.outer(random(20), random(5))) == pytest.approx(1)
    assert rank(np.zeros((4, 3))) == 0


def test_effective_rank_is_the_papers_formula():
    vectors = np.diag([4.0, 3.0, 2.0, 1.0])
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    assert collapse.spectrum(vectors) == pytest.approx(shares)
    assert rank(vectors) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
    assert collapse.top_share(shares) == pytest.approx(16 / 30)


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=30)
def test_effective_rank_lies_between_one_and_the_rank_and_does_not_turn(rows, width, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, width))
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0]
    assert 1 <= rank(vectors) <= min(rows, width) + 1e-9
    assert rank(5 * vectors @ turn) == pytest.approx(rank(vectors))


def test_mean_cosine_is_that_of_all_pairs():
    vectors = random((30, 4))
    assert collapse.mean_cosine(vectors) == pytest.approx(float((1 - pdist(vectors, "cosine")).mean()))
    assert collapse.mean_cosine(np.tile([[1.0, 2.0]], (9, 1))) == pytest.approx(1)
    assert collapse.mean_cosine(np.eye(5)) == pytest.approx(0)
    simplex = np.eye(5) - 1 / 5  # as far apart as five directions can be
    assert collapse.mean_cosine(simplex) == pytest.approx(-1 / 4)


def test_dead_dimensions_are_counted_and_all_of_equal_vectors_are():
    vectors = random((50, 10))
    vectors[:, 3] = 7.0
    vectors[:, 8] *= 1e-4
    assert collapse.dead_dimensions(vectors) == pytest.approx(0.2)
    assert collapse.dead_dimensions(np.ones((6, 4))) == 1
    assert collapse.dead_dimensions(random((50, 10))) == 0


def test_hubness_is_the_skewness_of_counted_neighbours():
    vectors = random((40, 6))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    counts = [0] * 40
    for one in range(40):
        order = sorted((other for other in range(40) if other != one), key=lambda o: -unit[one] @ unit[o])
        for neighbour in order[:5]:
            counts[neighbour] += 1
    mean = sum(counts) / 40
    second, third = (sum((c - mean) ** power for c in counts) / 40 for power in (2, 3))
    assert collapse.hubness(vectors, 5) == pytest.approx(third / second**1.5)


def test_a_star_has_a_hub_and_a_ring_has_none():
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert collapse.hubness(ring, 2) == 0
    # Directions that are far from one another and near one in the middle.
    star = np.concatenate([np.ones((1, 24)), np.eye(24)])
    assert collapse.hubness(star, 1) > 3


def test_collapsed_clustered_and_random_stand_in_this_order():
    centres = random((3, 16))
    clustered = centres[np.arange(90) % 3] + 0.05 * random((90, 16))
    collapsed = random((1, 16)) + 0.01 * random((90, 16))
    spread = random((90, 16))
    ranks = [rank(v) for v in (collapsed, clustered, spread)]
    shares = [collapse.top_share(collapse.spectrum(v)) for v in (collapsed, clustered, spread)]
    assert all(one < other for one, other in itertools.pairwise(ranks))
    assert all(one > other for one, other in itertools.pairwise(shares))
    assert collapse.mean_cosine(collapsed) > 0.99
