"""1vsAll and KvsAll losses against torch's own, value and gradient, at sizes of one block and of several."""

import pytest
import torch
import torch.nn.functional as F

from mmrns.losses import all_entities, binary_cross_entropy_all, cross_entropy_all

ENTITIES = 37


@pytest.fixture(params=[1 << 20, 1000], ids=["one block", "many blocks"], autouse=True)
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(all_entities, "_BLOCK_BYTES", request.param)


def case():
    generator = torch.Generator().manual_seed(3)
    scores = (4 * torch.randn(23, ENTITIES, generator=generator, dtype=torch.float64)).requires_grad_()
    answered = torch.rand(23, ENTITIES, generator=generator) < 0.1
    answered[:, 0] = True
    answered[0, 5:20] = True
    position, answers = answered.nonzero().unbind(1)
    return scores, position, answers, answered


def gradient_of(value, scores):
    return torch.autograd.grad(3 * value, scores)[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_1vsall_is_the_cross_entropy_of_every_pair(smoothing):
    scores, position, answers, _ = case()
    expected = F.cross_entropy(scores[position], answers, label_smoothing=smoothing, reduction="sum")
    found = cross_entropy_all(scores, position, answers, smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient_of(found, scores), gradient_of(expected, scores), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_kvsall_is_the_binary_cross_entropy_of_every_entity(smoothing):
    scores, position, answers, answered = case()
    target = (1 - smoothing) * answered.double() + smoothing * answered.double().mean(1, keepdim=True)
    expected = F.binary_cross_entropy_with_logits(scores, target, reduction="sum")
    found = binary_cross_entropy_all(scores, position, answers, smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient_of(found, scores), gradient_of(expected, scores), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", [cross_entropy_all, binary_cross_entropy_all])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_well_fitted_answer_in_half_precision_has_the_gradient_it_lacks(loss, smoothing, precision):
    """Its probability is within a rounding of 1: what is taken from it after rounding leaves nothing, or rounding."""
    scores = case()[0].detach()
    position = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))  # rows in any order
    answers = 3 * position % ENTITIES
    scores[position, answers] = scores.logsumexp(1)[position] + torch.linspace(6, 7, len(scores), dtype=torch.float64)
    rounded = scores.to(precision).requires_grad_()
    exact = rounded.detach().double().requires_grad_()
    found, expected = (gradient_of(loss(of, position, answers, smoothing), of) for of in (rounded, exact))
    # Twice what rounding the exact gradient itself costs, and single precision near 1.
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(precision).eps, atol=1e-6)


def test_a_gradient_too_small_for_fp16_is_there_once_the_loss_is_scaled():
    scores = torch.zeros(1, ENTITIES, dtype=torch.float16)
    scores[0, 0] = 18  # the others' probabilities are 1.5e-8, and the least number of fp16 is 6e-8
    rounded, exact = scores.clone().requires_grad_(), scores.double().requires_grad_()
    found, expected = (
        gradient_of(2.0**16 * cross_entropy_all(of, torch.tensor([0]), torch.tensor([0])), of)
        for of in (rounded, exact)
    )
    torch.testing.assert_close(found[0, 1:].double(), expected[0, 1:], rtol=1e-3, atol=0)


def test_scores_of_any_size_stay_finite():
    scores = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = cross_entropy_all(scores, torch.tensor([0]), torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.item() == 2e4
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]
