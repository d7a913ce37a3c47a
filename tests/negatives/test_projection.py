"""The blocked projection of tokens against the plain layer."""

import pytest
import torch
import torch.nn.functional as F

from mmrns.negatives import projection


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("missing", [0.0, 0.4, 1.0])
def test_values_and_gradients_are_those_of_the_layer(block, missing, monkeypatch):
    monkeypatch.setattr(projection, "_BLOCK_TOKENS", block)
    torch.manual_seed(0)
    present = torch.rand(6, 4) >= missing
    tokens = (torch.randn(6, 4, 5) * present[..., None]).half()
    weight, bias = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 5), (3,)))
    mix = torch.randn(6, 4, 3, dtype=torch.float64)
    found = projection.project_tokens(tokens, present, weight, bias, 0.1)
    expected = F.leaky_relu(F.linear(tokens.double(), weight, bias), 0.1) * present[..., None]
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad((found * mix).sum(), [weight, bias]),
        torch.autograd.grad((expected * mix).sum(), [weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
