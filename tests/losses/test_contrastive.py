"""L_con a triple and a modality, against the equation written as loops."""

import pytest
import torch

from mmrns.losses import contrastive_loss
from tests import ways
from tests.negatives import reference

CLOSE = {"rtol": 1e-8, "atol": 1e-8}
OF_EACH = 0.02


@pytest.fixture
def batch():
    """Six triples, nine entities: the first a positive, the second a negative, the others any; all are present."""
    return made(torch.float64)


def made(dtype):
    generator = torch.Generator().manual_seed(1)
    similarity = 2 * torch.rand(6, 9, generator=generator, dtype=torch.float64) - 1
    weight = torch.rand(6, 9, generator=generator, dtype=torch.float64) + 0.05
    role = torch.randint(3, (6, 9), generator=generator)
    role[:, 0], role[:, 1] = 0, 1
    negative = (weight * (role == 1)).to(dtype)
    return similarity.to(dtype).requires_grad_(), role == 0, negative, torch.ones(6, 9, dtype=torch.bool), OF_EACH


def expected_losses(similarity, positive, negative, there, weight):
    losses = []
    for row, above, below, counts in zip(similarity, positive.double() * weight, negative, there, strict=True):
        pairs = [
            [(float(w), s.double()) for w, s, c in zip(part, row, counts, strict=True) if c and w > 0]
            for part in (above, below)
        ]
        losses.append(reference.contrastive(*pairs))
    return torch.stack(losses)


@pytest.mark.parametrize("way", ["double", "compiled", "torch", "three threads"])
def test_value_and_gradient_are_those_of_the_equation(way, monkeypatch):
    ways.take(way, monkeypatch)
    close = CLOSE if way == "double" else {"rtol": 1e-5, "atol": 1e-6}
    similarity, positive, negative, there, weight = made(torch.float64 if way == "double" else torch.float32)
    there[:, 2::3] = torch.rand(6, 3, generator=torch.Generator().manual_seed(2)) < 0.5
    loss, both = contrastive_loss(similarity, positive, negative, there, weight)
    expected = expected_losses(similarity, positive, negative, there, weight)
    assert both.all()
    torch.testing.assert_close(loss.double(), expected, **close)
    mix = torch.arange(1, 7)
    found = torch.autograd.grad((loss * mix).sum(), similarity)
    torch.testing.assert_close(found, torch.autograd.grad((expected * mix).sum(), similarity), **close)
    assert (found[0][~there] == 0).all()


@pytest.mark.parametrize("lacking", ["positives", "negatives", "both"])
def test_a_triple_without_positives_or_negatives_has_no_loss_and_no_gradient(batch, lacking):
    similarity, positive, negative, there, weight = batch
    if lacking != "negatives":
        positive = positive.index_fill(0, torch.tensor([3]), False)
    if lacking != "positives":
        negative = negative.index_fill(0, torch.tensor([3]), 0.0)
    loss, present = contrastive_loss(similarity, positive, negative, there, weight)
    assert present.tolist() == [True, True, True, False, True, True]
    assert loss[3] == 0
    gradient = torch.autograd.grad(loss.sum(), similarity)[0]
    assert torch.isfinite(gradient).all()
    assert (gradient[3] == 0).all() and (gradient[2] != 0).any()
    others = [row for row in range(6) if row != 3]
    torch.testing.assert_close(loss[others], expected_losses(*batch)[others], **CLOSE)


def test_a_likelier_positive_lowers_the_loss_and_a_likelier_negative_raises_it(batch):
    similarity, positive, negative, *_ = batch
    gradient = torch.autograd.grad(contrastive_loss(*batch)[0].sum(), similarity)[0]
    assert (gradient[positive] < 0).all()
    assert (gradient[negative > 0] > 0).all()
    assert (gradient[~positive & (negative == 0)] == 0).all()
