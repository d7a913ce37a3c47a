"""Cosines of structure, a relation at a time, against those of the crossed tensor: values and gradients."""

import pytest
import torch

from mmrns.negatives.attention import StructureGate
from mmrns.negatives.gated import gated_cosine
from mmrns.negatives.similarity import cosine_by_relation, spread
from tests.negatives.graphs import grouped
from tests.ways import take

POOL, RELATIONS, WIDTH, RELATION_WIDTH = 9, 4, 6, 3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("relation", [[2, 0, 2, 1, 2, 3], [1, 1], [3]])
@pytest.mark.parametrize("way", ["compiled", "torch", "three threads"])
def test_values_and_gradients_are_those_of_the_crossed_tensor(relation, dtype, tolerance, centred, way, monkeypatch):
    take(way, monkeypatch)
    torch.manual_seed(0)
    gate = StructureGate(WIDTH, RELATION_WIDTH, 5, 0.1).double()
    # A relation that no answer has is an empty group.
    inputs = [
        torch.randn(*shape, dtype=torch.float64)
        for shape in ((POOL, WIDTH), (RELATIONS, RELATION_WIDTH), (len(relation), WIDTH))
    ]
    inputs[0][3] = 0  # an entity of zeros has a cosine of 0, and a finite gradient
    mix = torch.randn(len(relation), POOL, dtype=torch.float64)
    relation = torch.tensor(relation)
    rows = grouped(relation, RELATIONS)

    def run(compute, kind):
        own = StructureGate(WIDTH, RELATION_WIDTH, 5, 0.1).to(kind)
        own.load_state_dict(gate.state_dict())
        entities, relations, answers = leaves = [value.to(kind).requires_grad_() for value in inputs]
        cosines, mean = compute(own, entities, relations, answers)
        total = (cosines * mix.to(kind)).sum() + mean.square().sum()
        gradients = torch.autograd.grad(total, [*leaves, *own.parameters()])
        return [cosines.detach(), mean.detach(), *gradients]

    def fused(own, entities, relations, answers):
        cosines, mean = gated_cosine(own, entities, relations, answers, rows, 1e-8, centred)
        return cosines, mean.tanh()  # callers centre other answers by it

    def plain(own, entities, relations, answers):
        crossed = own.crossed(entities, relations)
        mean = spread(crossed, torch.ones(POOL, dtype=torch.bool), "centred")[0] if centred else crossed[:, 0] * 0
        return cosine_by_relation(answers - mean[relation], crossed - mean[:, None], rows, 1e-8), mean.tanh()

    found, expected = run(fused, dtype), run(plain, torch.float64)
    assert expected[0].abs().max() > 0.1 and all(part.abs().sum() > 0 for part in expected[2:])
    for one, other in zip(found, expected, strict=True):
        # The zero entity's gradient is scaled by 1 / epsilon, and is not compared.
        if one.shape == (POOL, WIDTH):
            assert one.isfinite().all()
            one[3] = other[3] = 0
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)
