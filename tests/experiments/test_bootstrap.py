"""The paired bootstrap against a loop over resamples, known cases, and the normal approximation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrns.errors import UserError
from mmrns.experiments.bootstrap import RESAMPLES, Difference, difference_of, paired_difference, ratio_intervals
from mmrns.experiments.results import CompactRanks

TRIPLES = 200


def ranks(rank, queries="same"):
    """Runs' ranks from (Q,) ranks; the other columns play no part."""
    rank = np.asarray(rank, dtype=float)
    filler = np.zeros(len(rank), dtype=int)
    return CompactRanks(1 / rank, filler.astype(bool), filler, filler.astype(bool), filler, queries)


def random_ranks(seed, mean=20.0):
    return ranks(1 + np.random.default_rng(seed).geometric(1 / mean, 2 * TRIPLES))


def slow_interval(ours, theirs, seed):
    """Resample triples one by one, take both queries of each, and read the bounds from the sorted means."""
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(4000):
        total = 0.0
        for triple in rng.integers(0, TRIPLES, TRIPLES):
            for query in (triple, TRIPLES + triple):
                total += ours.reciprocal[query] - theirs.reciprocal[query]
        means.append(total / (2 * TRIPLES))
    means.sort()
    return means[100], means[3899]


def test_the_interval_is_that_of_a_loop_over_resamples():
    ours, theirs = random_ranks(1, 10.0), random_ranks(2, 20.0)
    found = paired_difference([ours], [theirs])
    low, high = slow_interval(ours, theirs, seed=3)
    width = high - low
    assert found.mean == pytest.approx(ours.reciprocal.mean() - theirs.reciprocal.mean())
    # Two bootstraps of 10,000 and 4,000 resamples: their 2.5 % points differ by a few per cent of the width.
    assert found.low == pytest.approx(low, abs=0.05 * width) and found.high == pytest.approx(high, abs=0.05 * width)


def test_identical_ranks_differ_by_nothing():
    found = paired_difference([random_ranks(1)], [random_ranks(1)])
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_a_shift_that_is_the_same_everywhere_has_no_spread():
    found = paired_difference([ranks(np.full(2 * TRIPLES, 2))], [ranks(np.full(2 * TRIPLES, 4))])
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_a_triple_s_two_queries_stay_together():
    """Each triple wins as a head query what it loses as a tail query: whole triples show no difference."""
    ours = ranks(np.concatenate([np.full(TRIPLES, 1), np.full(TRIPLES, 2)]))
    theirs = ranks(np.concatenate([np.full(TRIPLES, 2), np.full(TRIPLES, 1)]))
    found = paired_difference([ours], [theirs])
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_seeds_are_averaged_before_they_are_compared():
    runs = [random_ranks(seed) for seed in range(3)]
    mean = CompactRanks(np.mean([r.reciprocal for r in runs], axis=0), *(runs[0].seen,) * 4, "same")
    other = random_ranks(9)
    assert paired_difference(runs, [other]) == paired_difference([mean], [other])
    # The other way around it is the same interval, turned.
    turned = paired_difference([other], runs)
    assert turned.mean == pytest.approx(-paired_difference(runs, [other]).mean)


def test_it_gives_the_same_interval_each_time():
    assert paired_difference([random_ranks(1)], [random_ranks(2)]) == paired_difference(
        [random_ranks(1)], [random_ranks(2)]
    )


def test_other_queries_are_refused():
    other = CompactRanks(*(random_ranks(2).__dict__ | {"queries": "other"}).values())
    with pytest.raises(UserError, match="rank different test queries"):
        paired_difference([random_ranks(1)], [other])


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(50, 3000))
def test_it_agrees_with_the_normal_approximation(seed, size):
    blocks = np.random.default_rng(seed).normal(0.01, 0.2, size)
    found, error = difference_of(blocks), blocks.std() / size**0.5
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.2 * error)


def test_the_memory_of_resamples_is_bounded(monkeypatch):
    from scipy.stats import bootstrap

    from mmrns.experiments import bootstrap as module

    given = {}
    monkeypatch.setattr(module, "bootstrap", lambda *args, **rest: given.update(rest) or bootstrap(*args, **rest))
    difference_of(np.arange(9_902) / 1e5)
    assert given["n_resamples"] == RESAMPLES == 10_000
    assert 8 * given["batch"] * 9_902 < 2**25


def test_ratios_of_parts_are_those_of_a_loop_over_resamples():
    rng = np.random.default_rng(4)
    inside = rng.random((TRIPLES, 2)) < (0.9, 0.2)
    values = rng.random((TRIPLES, 2)) * inside
    found = ratio_intervals(values, inside.astype(float))
    ratios = []
    for _ in range(4000):
        drawn = rng.integers(0, TRIPLES, TRIPLES)
        ratios.append([sum(values[drawn, part]) / sum(inside[drawn, part]) for part in (0, 1)])
    low, high = np.sort(ratios, axis=0)[[100, 3899]]
    width = high - low
    assert (
        np.abs(found[:, 0] - low).max() < 0.06 * width.max() and np.abs(found[:, 1] - high).max() < 0.06 * width.max()
    )
    # The rarer part is known less well.
    assert found[1, 1] - found[1, 0] > 1.5 * (found[0, 1] - found[0, 0])


def test_ratios_with_nothing_below_or_no_spread():
    ones = np.ones((TRIPLES, 1))
    found = ratio_intervals(np.concatenate([3 * ones, 0 * ones], axis=1), np.concatenate([2 * ones, 0 * ones], axis=1))
    assert found[0] == pytest.approx([1.5, 1.5]) and np.isnan(found[1]).all()
    with_gaps = np.zeros((TRIPLES, 1))
    with_gaps[0] = 1  # in about a third of the resamples, this triple is absent
    assert ratio_intervals(with_gaps, with_gaps)[0] == pytest.approx([1, 1])


def test_of_one_test_triple_the_interval_is_its_difference():
    assert difference_of(np.array([0.25])) == Difference(0.25, 0.25, 0.25)
