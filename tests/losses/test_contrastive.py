"""L_con a triple and a modality, against the equation written as loops."""

import pytest
import torch

from mmrns.losses import contrastive_loss
from tests.negatives import reference

CLOSE = {"rtol": 1e-8, "atol": 1e-8}


@pytest.fixture
def batch():
    """Six triples, nine entities: the first two positives, one neither, the rest negatives."""
    generator = torch.Generator().manual_seed(1)
    similarity = 2 * torch.rand(6, 9, generator=generator, dtype=torch.float64) - 1
    weight = torch.rand(6, 9, generator=generator, dtype=torch.float64) + 0.05
    role = torch.randint(3, (6, 9), generator=generator)
    role[:, 0], role[:, 1] = 0, 1
    return similarity.requires_grad_(), weight * (role == 0), weight * (role == 1)


def expected_losses(similarity, positive, negative):
    losses = []
    for row, above, below in zip(similarity, positive, negative, strict=True):
        pairs = [[(float(w), s) for w, s in zip(part, row, strict=True) if w > 0] for part in (above, below)]
        losses.append(reference.contrastive(*pairs))
    return torch.stack(losses)


def test_value_and_gradient_are_those_of_the_equation(batch):
    loss, present = contrastive_loss(*batch)
    expected = expected_losses(*batch)
    assert present.all()
    torch.testing.assert_close(loss, expected, **CLOSE)
    mix = torch.arange(1, 7, dtype=torch.float64)
    found = torch.autograd.grad((loss * mix).sum(), batch[0])
    torch.testing.assert_close(found, torch.autograd.grad((expected * mix).sum(), batch[0]), **CLOSE)


@pytest.mark.parametrize("lacking", ["positives", "negatives", "both"])
def test_a_triple_without_positives_or_negatives_has_no_loss_and_no_gradient(batch, lacking):
    similarity, positive, negative = batch
    if lacking != "negatives":
        positive = positive.index_fill(0, torch.tensor([3]), 0.0)
    if lacking != "positives":
        negative = negative.index_fill(0, torch.tensor([3]), 0.0)
    loss, present = contrastive_loss(similarity, positive, negative)
    assert present.tolist() == [True, True, True, False, True, True]
    assert loss[3] == 0
    gradient = torch.autograd.grad(loss.sum(), similarity)[0]
    assert torch.isfinite(gradient).all()
    assert (gradient[3] == 0).all() and (gradient[2] != 0).any()
    others = [row for row in range(6) if row != 3]
    torch.testing.assert_close(loss[others], expected_losses(*batch)[others], **CLOSE)


def test_a_likelier_positive_lowers_the_loss_and_a_likelier_negative_raises_it(batch):
    similarity, positive, negative = batch
    gradient = torch.autograd.grad(contrastive_loss(*batch)[0].sum(), similarity)[0]
    assert (gradient[positive > 0] < 0).all()
    assert (gradient[negative > 0] > 0).all()
    assert (gradient[(positive == 0) & (negative == 0)] == 0).all()
