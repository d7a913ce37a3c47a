"""Cosines of structure, a relation at a time, against those of the crossed tensor: values and gradients."""

import pytest
import torch

from mmrns.negatives.attention import StructureGate
from mmrns.negatives.gated import gated_cosine
from mmrns.negatives.similarity import cosine_by_relation

POOL, RELATIONS, WIDTH, RELATION_WIDTH = 9, 4, 6, 3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
@pytest.mark.parametrize("relation", [[2, 0, 2, 1, 2, 3], [1, 1], [3]])
def test_values_and_gradients_are_those_of_the_crossed_tensor(relation, dtype, tolerance):
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

    def run(compute, kind):
        own = StructureGate(WIDTH, RELATION_WIDTH, 5, 0.1).to(kind)
        own.load_state_dict(gate.state_dict())
        entities, relations, answers = leaves = [value.to(kind).requires_grad_() for value in inputs]
        cosines = compute(own, entities, relations, answers)
        gradients = torch.autograd.grad((cosines * mix.to(kind)).sum(), [*leaves, *own.parameters()])
        return [cosines.detach(), *gradients]

    found = run(lambda own, e, r, a: gated_cosine(own, e, r, a, relation, 1e-8), dtype)
    expected = run(lambda own, e, r, a: cosine_by_relation(a, own.crossed(e, r), relation, 1e-8), torch.float64)
    assert expected[0].abs().max() > 0.1 and all(part.abs().sum() > 0 for part in expected)
    for one, other in zip(found, expected, strict=True):
        # The zero entity's gradient is scaled by 1 / epsilon, and is not compared.
        if one.shape == (POOL, WIDTH):
            assert one.isfinite().all()
            one[3] = other[3] = 0
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)
