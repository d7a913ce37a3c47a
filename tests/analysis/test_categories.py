"""Clusters, silhouettes and probes on types that are told apart, mixed or collapsed."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from mmrns.analysis.categories import clusters, probe

TYPES = [name for name in ("a", "b", "c") for _ in range(30)]


def vectors(apart, seed=0):
    """Three groups of 30 around orthogonal centres that are `apart` from the origin."""
    rng = np.random.default_rng(seed)
    return apart * np.eye(12)[[0] * 30 + [1] * 30 + [2] * 30] + rng.standard_normal((90, 12))


def test_types_that_lie_apart_are_found_whole():
    found = clusters(vectors(30), TYPES, 0) | probe(vectors(30), TYPES, 0)
    assert found["cluster_purity"] == found["cluster_rand"] == 1
    assert found["type_silhouette"] > 0.9
    assert found["probe_accuracy"] == found["probe_balanced_accuracy"] == 1


def test_types_that_mean_nothing_are_at_chance():
    found = clusters(vectors(0), TYPES, 0) | probe(vectors(0), TYPES, 0)
    assert found["cluster_rand"] == pytest.approx(0, abs=0.1)
    assert found["cluster_purity"] < 0.6
    assert found["type_silhouette"] < 0.05
    assert found["probe_accuracy"] == pytest.approx(1 / 3, abs=0.15)


def test_collapsed_vectors_give_one_cluster_and_the_largest_types_share():
    types = ["a"] * 50 + ["b"] * 40
    found = clusters(np.ones((90, 4)), types, 0) | probe(np.ones((90, 4)), types, 0)
    assert found["cluster_purity"] == pytest.approx(5 / 9)
    assert found["cluster_rand"] == pytest.approx(0)
    assert found["type_silhouette"] == pytest.approx(0)
    assert found["probe_accuracy"] == pytest.approx(5 / 9)
    assert found["probe_balanced_accuracy"] == pytest.approx(1 / 2)


def test_silhouette_is_that_of_the_types_not_of_the_clusters():
    shuffled = list(np.random.default_rng(3).permutation(TYPES))
    found = clusters(vectors(30), shuffled, 0)
    assert found["type_silhouette"] == pytest.approx(silhouette_score(vectors(30), shuffled, metric="cosine"))
    assert found["type_silhouette"] < 0


def test_purity_counts_the_most_frequent_type_of_each_cluster():
    mixed = ["b" if place % 3 == 0 else name for place, name in enumerate(TYPES)]  # a third of each group is b
    found = clusters(vectors(30), mixed, 0)
    assert found["cluster_purity"] == pytest.approx((20 + 30 + 20) / 90)
