"""The alternatives to L_con, against their formulas computed by hand, in double precision."""

import math

import pytest
import torch

from mmrns.losses import infonce_loss, margin_loss, self_supervised_loss, supcon_loss, triplet_loss

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def infonce(positives, negatives, t):
    against = sum(math.e ** (n / t) for n in negatives)
    return sum(-math.log(math.e ** (p / t) / (math.e ** (p / t) + against)) for p in positives) / len(positives)


def supcon(positives, negatives, t):
    everything = sum(math.e ** (s / t) for s in positives + negatives)
    return sum(-math.log(math.e ** (p / t) / everything) for p in positives) / len(positives)


def triplet(positives, negatives, m):
    return sum(max(0.0, n - min(positives) + m) for n in negatives) / len(negatives)


def margin(positives, negatives, m):
    far = sum(max(0.0, 1 - p) for p in positives) / len(positives)
    return far + sum(max(0.0, n - m) for n in negatives) / len(negatives)


LOSSES = [
    (infonce_loss, infonce, 0.3),
    (infonce_loss, infonce, 0.05),
    (supcon_loss, supcon, 0.3),
    (supcon_loss, supcon, 0.05),
    (triplet_loss, triplet, 0.2),
    (triplet_loss, triplet, -0.5),
    (margin_loss, margin, 0.2),
    (margin_loss, margin, -0.4),
]
every_loss = pytest.mark.parametrize(("loss", "formula", "setting"), LOSSES)


@pytest.fixture
def batch():
    """Similarities of six triples to nine entities; row 2 has no positive, row 4 no negative."""
    generator = torch.Generator().manual_seed(1)
    similarity = (2 * torch.rand(6, 9, generator=generator, dtype=torch.float64) - 1).requires_grad_()
    role = torch.randint(3, (6, 9), generator=generator)
    role[:, 0], role[:, 1] = 0, 1
    positive, negative = role == 0, role == 1
    positive[2], negative[4] = False, False
    return similarity, positive, negative


def by_hand(formula, similarity, positive, negative, setting):
    rows = []
    for values, above, below in zip(similarity.tolist(), positive.tolist(), negative.tolist(), strict=True):
        parts = [[s for s, there in zip(values, part, strict=True) if there] for part in (above, below)]
        rows.append(formula(*parts, setting) if all(parts) else 0.0)
    return torch.tensor(rows, dtype=torch.float64)


@every_loss
def test_value_and_gradient_are_those_of_the_formula(batch, loss, formula, setting):
    similarity, positive, negative = batch
    found, present = loss(similarity, positive, negative, setting)
    torch.testing.assert_close(found, by_hand(formula, similarity, positive, negative, setting), **CLOSE)
    assert present.tolist() == [True, True, False, True, False, True]

    (gradient,) = torch.autograd.grad((found * torch.arange(1, 7)).sum(), similarity)
    assert (gradient[[2, 4]] == 0).all()
    assert (gradient[~(positive | negative)] == 0).all()
    step = 1e-6
    for b, m in ((0, 0), (0, 1), (1, 3), (3, 5), (5, 8)):
        moved = [similarity.detach().clone() for _ in range(2)]
        moved[0][b, m] -= step
        moved[1][b, m] += step
        low, high = (by_hand(formula, values, positive, negative, setting)[b] for values in moved)
        assert float(gradient[b, m]) == pytest.approx(float(high - low) / (2 * step) * (b + 1), abs=1e-6)


@every_loss
@pytest.mark.parametrize("lacking", ["positives", "negatives", "both"])
def test_a_batch_without_pairs_has_no_loss(batch, loss, formula, setting, lacking):
    similarity, positive, negative = batch
    positive = positive & (lacking == "negatives")
    negative = negative & (lacking == "positives")
    found, present = loss(similarity, positive, negative, setting)
    assert not present.any() and (found == 0).all() and found.shape == (6,)


def test_infonce_is_the_nt_xent_of_pytorch_metric_learning(batch):
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import NTXentLoss

    similarity, positive, negative = batch
    row, other = (positive & negative.any(1, keepdim=True)).nonzero().unbind(1)
    pairs = (row, other, *negative.nonzero().unbind(1))
    theirs = NTXentLoss(0.3, distance=CosineSimilarity()).pair_based_loss(similarity, pairs)["loss"]["losses"]
    found, present = infonce_loss(similarity, positive, negative, 0.3)
    expected = torch.stack([theirs[row == b].mean() for b in present.nonzero()[:, 0]])
    torch.testing.assert_close(found[present], expected, rtol=1e-6, atol=1e-6)


def test_pictures_and_texts_of_an_entity_are_each_others_positives():
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(5, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    found = self_supervised_loss(image, text, torch.arange(5), 0.2)
    cosines = [[torch.cosine_similarity(x, y, dim=0).item() / 0.2 for y in text] for x in image]
    total = 0.0
    for i in range(5):
        of_row = sum(math.e ** cosines[i][j] for j in range(5))
        of_column = sum(math.e ** cosines[j][i] for j in range(5))
        total -= math.log(math.e ** cosines[i][i] / of_row) + math.log(math.e ** cosines[i][i] / of_column)
    assert found.item() == pytest.approx(total / 10, rel=1e-9)
    assert all((value != 0).any() for value in torch.autograd.grad(found, [image, text]))


def test_views_of_one_entity_are_no_negatives_of_one_another():
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    entity = torch.tensor([7, 2, 7])
    cosines = [[torch.cosine_similarity(x, y, dim=0).item() / 0.5 for y in text] for x in image]
    total = 0.0
    for table in (cosines, [list(column) for column in zip(*cosines, strict=True)]):
        for i, row in enumerate(table):
            same = [j for j in range(3) if entity[j] == entity[i]]
            everything = sum(math.e**s for s in row)
            total -= sum(math.log(math.e ** row[j] / everything) for j in same) / len(same)
    assert self_supervised_loss(image, text, entity, 0.5).item() == pytest.approx(total / 6, rel=1e-9)


@pytest.mark.parametrize("entities", [[], [3], [3, 3]])
def test_one_entity_alone_has_nothing_to_be_told_from(entities):
    views = torch.randn(len(entities), 4)
    assert self_supervised_loss(views, views, torch.tensor(entities, dtype=torch.long), 0.1) == 0
