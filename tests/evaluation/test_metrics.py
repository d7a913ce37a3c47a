"""Metrics on ranks whose metrics are known."""

import numpy as np
import pytest

from mmrns.evaluation import Ranks, ranking_metrics

NAMES = {"mrr", "mr", "amri", "hits@1", "hits@3", "hits@10", "count"}


def ranks_of(optimistic, pessimistic=None, candidates=100):
    optimistic = np.array(optimistic, dtype=np.int64)
    pessimistic = optimistic if pessimistic is None else np.array(pessimistic, dtype=np.int64)
    number = len(optimistic)
    return Ranks(
        np.zeros((number, 3), dtype=np.int64), np.zeros(number, dtype=np.int64), optimistic, pessimistic,
        np.broadcast_to(np.array(candidates, dtype=np.int64), number),
    )  # fmt: skip


def test_perfect_ranks_reach_one_everywhere():
    found = ranking_metrics(ranks_of([1, 1, 1]))
    assert found == {"mrr": 1, "mr": 1, "amri": 1, "hits@1": 1, "hits@3": 1, "hits@10": 1, "count": 3}


def test_a_hand_made_example():
    found = ranking_metrics(ranks_of([1, 3, 4, 20], candidates=[9, 9, 9, 40]))
    assert found["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 4 + 1 / 20) / 4)
    assert found["mr"] == 7
    assert [found[f"hits@{k}"] for k in (1, 3, 10)] == [1 / 4, 2 / 4, 3 / 4]
    # E[mr] = mean of 5, 5, 5 and 20.5.
    assert found["amri"] == pytest.approx(1 - 6 / (35.5 / 4 - 1))


def test_every_rank_once_is_random_and_has_amri_zero():
    found = ranking_metrics(ranks_of(np.arange(1, 101)))
    assert found["amri"] == pytest.approx(0)
    assert found["mr"] == 50.5
    assert found["mrr"] == pytest.approx(sum(1 / rank for rank in range(1, 101)) / 100)
    assert [found[f"hits@{k}"] for k in (1, 3, 10)] == pytest.approx([0.01, 0.03, 0.1])


def test_always_last_has_amri_minus_one():
    assert ranking_metrics(ranks_of([100, 100]))["amri"] == pytest.approx(-1)


def test_equal_scores_are_worth_what_random_ones_are():
    found = ranking_metrics(ranks_of([1], [100]))
    assert (found["mr"], found["amri"], found["hits@10"]) == (50.5, 0, 0)


def test_a_tie_at_the_first_place_is_no_hit_at_one():
    found = ranking_metrics(ranks_of([1], [2]))
    assert (found["mrr"], found["hits@1"], found["hits@3"]) == (pytest.approx(2 / 3), 0, 1)


def test_a_part_is_measured_alone():
    ranks = ranks_of([1, 50, 1, 50])
    part = ranking_metrics(ranks, np.array([True, False, True, False]))
    assert part["mrr"] == 1
    assert part["count"] == 2


def test_a_part_without_a_query_has_no_metrics_but_every_key():
    found = ranking_metrics(ranks_of([1, 2]), np.array([False, False]))
    assert set(found) == NAMES
    assert found.pop("count") == 0
    assert set(found.values()) == {None}


def test_where_only_the_answer_is_left_there_is_no_amri():
    found = ranking_metrics(ranks_of([1], candidates=1))
    assert found["amri"] is None
    assert found["mrr"] == 1


def test_metrics_are_plain_numbers_for_json():
    assert {type(value) for value in ranking_metrics(ranks_of([1, 2])).values()} == {float, int}
