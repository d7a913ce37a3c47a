"""KCA a block of candidates at a time against the crossed tensor: values and gradients, compiled and in torch."""

import pytest
import torch

from mmrns.negatives import guided, loops
from mmrns.negatives.attention import CrossModalAttention
from mmrns.negatives.guided import crossed_by_blocks
from mmrns.negatives.similarity import cosine_by_relation, padded_products
from tests.negatives.graphs import grouped
from tests.ways import take

ENTITIES, RELATIONS, WIDTH = 11, 5, 8


@pytest.mark.parametrize("block", [1, 300, 10**6], ids=["one at a time", "a few", "all at once"])
@pytest.mark.parametrize(("image", "text"), [(24, 4), (3, 3), (1, 5)])
@pytest.mark.parametrize("relations", [5, 26], ids=["5 relations", "more than values"])
@pytest.mark.parametrize("way", ["double", "torch", "compiled", "three threads"])
def test_values_and_gradients_are_those_of_the_crossed_tensor(image, text, block, way, relations, monkeypatch):
    monkeypatch.setattr(guided, "_BLOCK_NUMBERS", block)
    take(way, monkeypatch)
    torch.manual_seed(0)
    attention = CrossModalAttention({"image": (image, 7), "text": (text, 9)}, 6, WIDTH, 0.1)
    for parameter in attention.parameters():  # biases and LayerNorms away from their trivial start
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    present = torch.rand(ENTITIES, image) > 0.3, torch.rand(ENTITIES, text) > 0.3
    present[0][2], present[1][3] = False, False  # whole modalities are absent too
    values = torch.randn(ENTITIES, image, 7), torch.randn(ENTITIES, text, 9)
    relation = torch.randn(relations, 6)
    probes = torch.randn(2, relations, ENTITIES, WIDTH), torch.randn(2, relations, ENTITIES)

    def run(dtype, by_blocks):
        own = CrossModalAttention({"image": (image, 7), "text": (text, 9)}, 6, WIDTH, 0.1).to(dtype)
        own.load_state_dict(attention.state_dict())
        asked = relation.to(dtype).requires_grad_()
        tokens = own.attend({"image": (values[0].to(dtype), present[0]), "text": (values[1].to(dtype), present[1])})
        gates, found, loss = own.gates(asked), [], 0
        for place, name in enumerate(tokens):
            if by_blocks:
                z, squares = crossed_by_blocks(own.branch(name), tokens[name], gates[name])
            else:
                z = own.branch(name).crossed(tokens[name], gates[name])
                squares = z.square().sum(-1)
            found += [z.detach(), squares.detach()]
            loss = loss + (z * probes[0][place].to(dtype)).sum() + (squares * probes[1][place].to(dtype)).sum()
        return found + list(torch.autograd.grad(loss, [*own.parameters(), asked]))

    found = run(torch.float64 if way == "double" else torch.float32, True)
    expected = run(torch.float64, False)
    tolerance = 1e-9 if way == "double" else 2e-4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance * float(other.abs().max() + 1))


@pytest.mark.parametrize("known", [True, False])
def test_cosines_by_relation_are_plain_cosines(known):
    torch.manual_seed(1)
    answers = torch.randn(6, WIDTH, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(RELATIONS, ENTITIES, WIDTH, dtype=torch.float64, requires_grad=True)
    relation = torch.tensor([3, 0, 3, 1, 0, 4])  # none has 2
    mix = torch.randn(6, ENTITIES, dtype=torch.float64)
    squares = candidates.square().sum(-1) if known else None
    found = cosine_by_relation(answers, candidates, grouped(relation, len(candidates)), 1e-8, squares)
    expected = torch.nn.functional.cosine_similarity(answers[:, None], candidates[relation], dim=2)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    for left, right in zip(
        torch.autograd.grad((found * mix).sum(), [answers, candidates]),
        torch.autograd.grad((expected * mix).sum(), [answers, candidates]),
        strict=True,
    ):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-7)


def test_products_of_a_padded_batch_are_plain_products():
    torch.manual_seed(2)
    rows = grouped(torch.tensor([3, 0, 3, 1, 0, 4]), RELATIONS)  # none has 2
    ordered = torch.randn(6, WIDTH, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(RELATIONS, ENTITIES, WIDTH, dtype=torch.float64, requires_grad=True)
    expected = torch.einsum("ba,bpa->bp", ordered, candidates[rows.relation[rows.order]])
    found = padded_products(ordered, candidates, rows)
    torch.testing.assert_close(found, expected)
    mix = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * mix).sum(), [ordered, candidates]),
        torch.autograd.grad((expected * mix).sum(), [ordered, candidates]),
    )


def test_the_compiled_sigmoid_is_torchs_and_keeps_what_is_not_a_number():
    logits = torch.linspace(-120, 120, 4001)[None].clone()
    logits[0, 7] = torch.nan
    gates, ones, z, squares = logits.clone(), torch.ones_like(logits), torch.empty_like(logits), torch.empty(1)
    loops.gate_(gates, ones, z, squares)
    torch.testing.assert_close(gates.double(), logits.double().sigmoid(), rtol=1e-6, atol=1e-37, equal_nan=True)
    assert squares.isnan().all()
