"""Probabilities of proposed facts: against planted ones, scikit-learn, and plain loops."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from mmrns.errors import UserError
from mmrns.evaluation.calibration import (
    Calibrator,
    calibration_errors,
    precision_at,
    reliability,
    threshold_by_relation,
)
from mmrns.evaluation.candidates import Candidates
from mmrns.graph.answers import HEAD, TAIL

RELATIONS = 3
SLOPE, BASE = 1.3, np.array([[-2.0, -1.0], [-0.5, 0.5], [-3.0, -1.5]])  # by relation and direction
WITHOUT_KNOWN, WITHOUT_OTHER = 0.8, -0.7


def planted(number, seed, slope=SLOPE):
    """Candidates, no two of one fact, whose probability is known, that probability, and a draw of which are true."""
    rng = np.random.default_rng(seed)
    relation, direction = rng.integers(0, RELATIONS, number), rng.integers(0, 2, number)
    known, other = rng.integers(0, 4, number), rng.integers(0, 4, number)
    share = -rng.exponential(1.5, number)
    log_odds = slope * share + BASE[relation, direction] + WITHOUT_KNOWN * (known == 0) + WITHOUT_OTHER * (other == 0)
    probability = 1 / (1 + np.exp(-log_odds))
    head, tail = rng.integers(0, 1000, (2, number))
    # The score within its own question is the share but for a constant of the question.
    found = Candidates(head + 1000 * np.arange(number), relation, tail, direction, share + 3, share, known, other)
    return found, probability, rng.random(number) < probability


def predicted(calibrator, candidates):
    return calibrator.probability(calibrator.log_odds(candidates))


@pytest.mark.parametrize(("method", "room"), [("logistic", 0.006), ("isotonic", 0.012)])
def test_planted_probabilities_are_found_again(method, room):
    candidates, _, true = planted(60_000, 0)
    calibrator = Calibrator.fit(candidates, true, RELATIONS, 1.0, method)
    others, probability, came_true = planted(20_000, 1)
    found = predicted(calibrator, others)
    assert np.abs(found - probability).mean() < room
    assert calibrator.weights[0] == pytest.approx(SLOPE, abs=0.05)
    # A reliability diagram's intervals hold the mean in nearly every bin, and catch one that is off by a fifth.
    inside = [bin["low"] <= bin["mean"] <= bin["high"] for bin in reliability(found, came_true)]
    assert sum(inside) >= 8
    off = [bin["low"] <= bin["mean"] <= bin["high"] for bin in reliability(found * 0.8, came_true)]
    assert sum(off) <= 3
    errors = calibration_errors(found, came_true)
    assert errors["ece"] < 0.015
    assert errors["expected"] == pytest.approx(errors["observed"], rel=0.05)


def test_the_order_is_scikit_learns_logistic_regression():
    candidates, _, true = planted(3000, 2)
    columns = [candidates.share, np.log(1 + candidates.known), np.log(1 + candidates.other_known)]
    none, other_none = candidates.known == 0, candidates.other_known == 0
    columns += [none, other_none]
    for extra in (True, none, other_none):
        for relation, direction in itertools.product(range(RELATIONS), (0, 1)):
            columns.append((candidates.relation == relation) & (candidates.direction == direction) & extra)
    features = np.stack(columns, axis=1).astype(float)
    peer = LogisticRegression(max_iter=5000, tol=1e-10).fit(features, true)
    calibrator = Calibrator.fit(candidates, true, RELATIONS, 1.0, "logistic")
    np.testing.assert_allclose(calibrator.log_odds(candidates), peer.decision_function(features), atol=2e-3)
    np.testing.assert_allclose(predicted(calibrator, candidates), peer.predict_proba(features)[:, 1], atol=1e-3)


def test_the_steps_are_scikit_learns_isotonic_regression_with_one_fact_more_at_each_end():
    candidates, _, true = planted(3000, 3)
    order = Calibrator.fit(candidates, true, RELATIONS, 1.0, "logistic").log_odds(candidates)
    low, high = order.min() - 1e-9, order.max() + 1e-9
    peer = IsotonicRegression().fit(np.concatenate([order, [low, high]]), np.concatenate([true, [1.0, 0.0]]))
    found = predicted(Calibrator.fit(candidates, true, RELATIONS, 1.0), candidates)
    np.testing.assert_allclose(found, peer.predict(order), atol=1e-6)
    assert 0 < found.min() < found.max() < 1


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**30),
    slope=st.sampled_from([-2.0, 0.0, 0.3, 2.0]),
    method=st.sampled_from(["isotonic", "logistic"]),
)
def test_a_higher_score_never_gets_a_lower_probability(seed, slope, method):
    """Whatever valid says, even that the model has it upside down."""
    candidates, _, true = planted(400, seed, slope)
    true[:5], true[5:10] = True, False
    calibrator = Calibrator.fit(candidates, true, RELATIONS, 1.0, method)
    share = np.sort(np.random.default_rng(seed).normal(-3, 3, 50))
    alike = np.zeros(50, dtype=np.int64)
    for relation, direction, known, other in ((0, 0, 0, 0), (1, 1, 2, 0), (2, 1, 0, 3)):
        question = Candidates(
            alike, alike + relation, alike, alike + direction, share, share, alike + known, alike + other
        )
        found = predicted(calibrator, question)
        assert (np.diff(found) >= 0).all()
        assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("method", ["isotonic", "logistic"])
def test_probabilities_are_of_facts_that_count_once_with_the_better_of_their_two_questions(method):
    def both_asked(seed):
        rng = np.random.default_rng(seed)
        number = 20_000
        true = rng.random(number) < 0.05
        share = rng.normal(3.0 * true, 1.0) + rng.normal(0, 0.5, (2, number))
        facts, zeros = np.arange(number), np.zeros(2 * number, dtype=np.int64)
        direction = np.repeat([HEAD, TAIL], number)
        shares = share.ravel()
        proposed = Candidates(np.tile(facts, 2), zeros, np.tile(facts, 2), direction, shares, shares, zeros, zeros)
        return proposed, np.tile(true, 2)

    candidates, true = both_asked(8)
    calibrator = Calibrator.fit(candidates, true, 1, 1.0, method)
    others, came_true = both_asked(9)
    better = predicted(calibrator, others).reshape(2, -1).max(axis=0)
    came_true = came_true[: len(better)]
    errors = calibration_errors(better, came_true)
    assert errors["expected"] == pytest.approx(errors["observed"], rel=0.05)
    for least in (0.3, 0.6, 0.9):
        assert came_true[better >= least].mean() == pytest.approx(better[better >= least].mean(), abs=0.03)


def test_each_fact_once_is_the_higher_of_its_rows_best_first():
    rng = np.random.default_rng(10)
    head, relation, tail, direction = rng.integers(0, (4, 2, 4, 2), (300, 4)).T
    blank, order = np.zeros(300), rng.integers(0, 20, 300) / 10
    found = Candidates(head, relation, tail, direction, blank, blank, head, head).each_fact_once(order)
    best = {}
    for fact, its in zip(zip(head, relation, tail, strict=True), order, strict=True):
        best[fact] = max(best.get(fact, -1.0), its)
    assert {(head[row], relation[row], tail[row]): order[row] for row in found} == best
    assert len(found) == len(best)
    assert (np.diff(order[found]) <= 0).all()


def test_a_calibrator_is_the_same_after_json():
    candidates, _, true = planted(500, 4)
    for method in ("isotonic", "logistic"):
        calibrator = Calibrator.fit(candidates, true, RELATIONS, 0.5, method)
        again = Calibrator.from_json(json.loads(json.dumps(calibrator.as_json())))
        assert again == calibrator
        np.testing.assert_array_equal(predicted(again, candidates), predicted(calibrator, candidates))


@pytest.mark.parametrize("true_ones", [0, 4, 100])
def test_too_few_facts_to_fit_are_refused(true_ones):
    candidates, _, _ = planted(100, 5)
    with pytest.raises(UserError, match=rf"^--calibration isotonic: valid holds {true_ones} of the 100 facts proposed"):
        Calibrator.fit(candidates, np.arange(100) < true_ones, RELATIONS, 1.0)


def test_reliability_is_a_plain_count():
    rng = np.random.default_rng(6)
    probability = np.round(rng.beta(0.3, 3, 500), 2)  # with many ties
    true = rng.random(500) < probability
    bins = reliability(probability, true, 5)
    assert 1 < len(bins) <= 5
    assert sum(bin["count"] for bin in bins) == 500
    order = np.argsort(probability, kind="stable")
    start, below = 0, -1.0
    for bin in bins:
        rows = order[start : start + bin["count"]]
        start += bin["count"]
        assert bin["mean"] == pytest.approx(probability[rows].mean())
        assert bin["observed"] == pytest.approx(true[rows].mean())
        assert probability[rows].min() > below  # ties stay together
        below = probability[rows].max()
        n, p, z = bin["count"], bin["observed"], 1.959964
        middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        assert (bin["low"], bin["high"]) == pytest.approx(
            ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)), abs=1e-6
        )
    errors = calibration_errors(probability, true, 5)
    assert errors["ece"] == pytest.approx(sum(b["count"] * abs(b["mean"] - b["observed"]) for b in bins) / 500)
    assert errors["brier"] == pytest.approx(brier_score_loss(true, probability))
    assert reliability(np.zeros(0), np.zeros(0, dtype=bool)) == []
    assert calibration_errors(np.zeros(0), np.zeros(0, dtype=bool))["ece"] == 0


def test_bins_hold_equal_numbers_of_expected_facts():
    probability = np.linspace(0.001, 0.5, 10_000)
    expected = [bin["mean"] * bin["count"] for bin in reliability(probability, probability > 0.3)]
    assert len(expected) == 10
    np.testing.assert_allclose(expected, probability.sum() / 10, rtol=0.01)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
def test_precision_is_the_mean_over_all_orders_of_ties(facts):
    order, true = np.array([o for o, _ in facts], dtype=float), np.array([t for _, t in facts])
    orders = [p for p in itertools.permutations(range(len(facts))) if (np.diff(order[list(p)]) <= 0).all()]
    for row in precision_at(order, true, 4, [1, 2, 3, 6, 7]):
        hits = np.mean([true[list(p)[: row["k"]]].sum() for p in orders])
        assert (row["precision"], row["recall"]) == pytest.approx((hits / row["k"], hits / 4))
    assert [row["k"] for row in precision_at(order, true, 4, [1, 2, 3, 6, 7])] == [
        k for k in (1, 2, 3, 6) if k <= len(facts)
    ]


def test_precision_of_nothing():
    assert precision_at(np.zeros(0), np.zeros(0, dtype=bool), 5, [1]) == []
    assert precision_at(np.ones(1), np.ones(1, dtype=bool), 0, [1]) == [{"k": 1, "precision": 1.0, "recall": 0.0}]


def test_thresholds_are_the_lowest_that_reach_the_precision():
    rng = np.random.default_rng(7)
    probability = np.round(rng.random(600), 2)
    true = rng.random(600) < probability
    relation = rng.choice(4, 600, p=[0.5, 0.3, 0.18, 0.02])

    def lowest(rows, precision):
        values = [p for p in np.unique(probability[rows]) if true[rows & (probability >= p)].mean() >= precision]
        return min(values, default=None)

    everything = np.ones(600, dtype=bool)
    assert (true & (relation == 3)).sum() < 10  # too few of its own: takes that of all together
    for precision in (0.1, 0.5, 0.8, 0.9):
        found = threshold_by_relation(probability, true, relation, 5, precision)
        expected = [lowest(relation == r, precision) for r in range(3)] + [lowest(everything, precision)] * 2
        assert found == expected
    assert threshold_by_relation(probability, np.zeros(600, dtype=bool), relation, 4, 0.1) == [None] * 4
