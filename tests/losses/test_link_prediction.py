"""L_kgc in its two forms, and its self-adversarial weights, against the equations written as loops."""

import math

import pytest
import torch

from mmrns.losses import kgc_loss, sampled_softmax_loss, self_adversarial_weights
from tests.negatives import reference

CLOSE = {"rtol": 1e-8, "atol": 1e-8}


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    positive = 3 * torch.randn(7, generator=generator, dtype=torch.float64)
    negative = 3 * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    weights = torch.rand(7, generator=generator, dtype=torch.float64) + 0.1
    return positive.requires_grad_(), negative.requires_grad_(), weights


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_value_and_gradients_are_those_of_the_equation(scores, alpha):
    positive, negative, weights = scores
    loss = kgc_loss(positive, negative, self_adversarial_weights(negative, alpha), weights)
    expected = reference.kgc(positive, negative, alpha, weights)
    torch.testing.assert_close(loss, expected, **CLOSE)
    found = torch.autograd.grad(loss, (positive, negative))
    torch.testing.assert_close(found, torch.autograd.grad(expected, (positive, negative)), **CLOSE)


def test_weights_sum_to_one_and_carry_no_gradient(scores):
    _, negative, _ = scores
    weights = self_adversarial_weights(negative, 0.7)
    assert not weights.requires_grad
    torch.testing.assert_close(weights.sum(1), torch.ones(7, dtype=torch.float64), **CLOSE)
    expected = [[math.exp(0.7 * s) / sum(math.exp(0.7 * x) for x in row) for s in row] for row in negative.tolist()]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), **CLOSE)


def test_temperature_zero_weighs_all_alike(scores):
    weights = self_adversarial_weights(scores[1], 0.0)
    torch.testing.assert_close(weights, torch.full((7, 5), 0.2, dtype=torch.float64), **CLOSE)


def test_invalid_negatives_count_as_if_they_were_not_there(scores):
    positive, negative, triple_weights = scores
    valid = torch.ones(7, 5, dtype=torch.bool)
    valid[:, 3:] = False
    weights = self_adversarial_weights(negative, 1.0, valid)
    assert (weights[:, 3:] == 0).all()
    loss = kgc_loss(positive, negative, weights, triple_weights)
    expected = reference.kgc(positive, negative[:, :3], 1.0, triple_weights)
    torch.testing.assert_close(loss, expected, **CLOSE)
    gradient = torch.autograd.grad(loss, negative)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, negative)[0], **CLOSE)
    assert (gradient[:, 3:] == 0).all()


def test_a_triple_without_any_negative_keeps_its_positive_part(scores):
    positive, negative, triple_weights = scores
    valid = torch.ones(7, 5, dtype=torch.bool)
    valid[2] = False
    weights = self_adversarial_weights(negative, 1.0, valid)
    assert weights[2].tolist() == [0.0] * 5
    loss = kgc_loss(positive, negative, weights, triple_weights)
    gradient = torch.autograd.grad(loss, (positive, negative))
    assert torch.isfinite(loss) and all(torch.isfinite(g).all() for g in gradient)
    assert (gradient[1][2] == 0).all()
    share = triple_weights[2] / triple_weights.sum()
    torch.testing.assert_close(gradient[0][2], -share * torch.sigmoid(-positive[2]) / 2, **CLOSE)


def test_softmax_is_its_equation(scores):
    positive, negative, weights = scores
    others = torch.tensor([9, 20, 5, 5, 8, 30, 7])
    valid = torch.ones(7, 5, dtype=torch.bool)
    valid[1, 3:], valid[4, 0] = False, False
    correction = torch.linspace(-1, 2, 35, dtype=torch.float64).view(7, 5)
    loss = sampled_softmax_loss(positive, negative, others, weights, valid, correction)
    expected = torch.zeros((), dtype=torch.float64)
    for b in range(7):
        drawn = [i for i in range(5) if valid[b, i]]
        of_others = sum(torch.exp(negative[b, i] - correction[b, i]) for i in drawn) * int(others[b]) / len(drawn)
        of_answer = torch.exp(positive[b])
        expected = expected - weights[b] * torch.log(of_answer / (of_answer + of_others))
    expected = expected / weights.sum()
    torch.testing.assert_close(loss, expected, **CLOSE)
    found = torch.autograd.grad(loss, (positive, negative))
    torch.testing.assert_close(found, torch.autograd.grad(expected, (positive, negative)), **CLOSE)
    assert (found[1][~valid] == 0).all()


def test_softmax_over_every_other_entity_is_cross_entropy(scores):
    positive, negative, _ = scores
    others = torch.full((7,), 5)
    loss = sampled_softmax_loss(positive, negative, others, torch.ones(7, dtype=torch.float64))
    logits = torch.cat([positive[:, None], negative], dim=1)
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(7, dtype=torch.long))
    torch.testing.assert_close(loss, expected, **CLOSE)


def test_uneven_draws_of_softmax_are_weighed_back(scores):
    """An entity that is drawn m times as often as evenly, and corrected for it, counts once."""
    positive, negative, _ = scores
    often = torch.tensor([3, 1, 1, 2, 1])
    drawn = negative.repeat_interleave(often, dim=1)
    odds = (often.double() / often.sum() * 5).log().repeat_interleave(often).expand_as(drawn)
    others, ones = torch.full((7,), 5), torch.ones(7, dtype=torch.float64)
    loss = sampled_softmax_loss(positive, drawn, others, ones, correction=odds)
    torch.testing.assert_close(loss, sampled_softmax_loss(positive, negative, others, ones), **CLOSE)
    assert not torch.isclose(loss, sampled_softmax_loss(positive, drawn, others, ones))


def test_softmax_of_a_triple_without_any_negative_is_nought(scores):
    positive, negative, weights = scores
    valid = torch.zeros(7, 5, dtype=torch.bool)
    loss = sampled_softmax_loss(positive, negative, torch.zeros(7, dtype=torch.long), weights, valid)
    assert loss.item() == 0
    assert all((g == 0).all() for g in torch.autograd.grad(loss, (positive, negative)))


def test_extreme_scores_stay_finite():
    positive, negative = torch.tensor([-1e4, 1e4]), torch.tensor([[1e4, -1e4], [1e4, 1e4]])
    weights = self_adversarial_weights(negative, 10.0)
    assert weights.tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert kgc_loss(positive, negative, weights, torch.ones(2)).item() == pytest.approx((2e4 + 1e4) / 4)
    softmax = sampled_softmax_loss(positive, negative, torch.full((2,), 2), torch.ones(2))
    assert softmax.item() == pytest.approx((2e4 + math.log(3)) / 2)
