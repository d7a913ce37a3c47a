"""Retrieval across spaces: exact where one is a linear image of the other, chance where they are strangers."""

import numpy as np
import pytest

from mmrns.analysis.retrieval import DEPTH, retrieval

N = 60
random = np.random.default_rng(0).standard_normal
EXACT = np.eye(N)


def test_a_linear_image_is_found_and_back():
    source = random((N, 5))
    target = source @ random((5, 9)) + 0.01 * random((N, 9))
    for one, other in ((source, target), (target, source)):
        found = retrieval(one, other, EXACT, 0)
        assert found["retrieval_mrr"] > 0.9
        assert found["retrieval_ndcg"] > 0.9


def test_strangers_are_at_chance_though_a_map_could_remember_them():
    found = [retrieval(random((N, 80)), random((N, 9)), EXACT, seed) for seed in range(8)]
    by_rank = [1 / rank for rank in range(1, N + 1)]
    gain = [1 / np.log2(1 + rank) for rank in range(1, DEPTH + 1)]
    assert np.mean([f["retrieval_mrr"] for f in found]) == pytest.approx(sum(by_rank) / N, abs=0.04)
    assert np.mean([f["retrieval_ndcg"] for f in found]) == pytest.approx(sum(gain) / N, abs=0.05)


def test_equal_targets_tie_at_their_mean_rank():
    found = retrieval(random((N, 4)), np.ones((N, 3)), EXACT, 0)
    assert found["retrieval_mrr"] == pytest.approx(2 / (N + 1))


def test_relevance_is_graded():
    source, target = random((N, 5)), random((N, 4))
    assert retrieval(source, target, np.ones((N, N)), 0)["retrieval_ndcg"] == pytest.approx(1)
    neighbours = EXACT + 0.5 * np.roll(EXACT, 1, axis=1)
    exact = retrieval(source, target, EXACT, 0)["retrieval_ndcg"]
    assert retrieval(source, target, neighbours, 0)["retrieval_ndcg"] != pytest.approx(exact)
