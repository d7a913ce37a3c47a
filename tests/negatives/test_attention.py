"""KCA and the structure gate against the equations, values and gradients, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrns.negatives.attention import CrossModalAttention, StructureGate
from tests.negatives import reference

SLOPE = 0.1


def tokens(entities, shape, generator, missing):
    count, width = shape
    values = torch.randn(entities, count, width, generator=generator, dtype=torch.float64)
    present = torch.rand(entities, count, generator=generator) >= missing
    return values * present[..., None], present


def close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-8)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    image_tokens=st.integers(1, 6),
    text_tokens=st.integers(1, 4),
    entities=st.integers(1, 4),
    relations=st.integers(1, 3),
    missing=st.sampled_from([0.0, 0.4]),
)
def test_both_paths_equal_the_equations_in_value_and_gradient(
    seed, image_tokens, text_tokens, entities, relations, missing
):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    shapes = {"image": (image_tokens, 5), "text": (text_tokens, 7)}
    attention = CrossModalAttention(shapes, relation_width=6, width=8, leaky_slope=SLOPE).double()
    for parameter in attention.parameters():  # biases and LayerNorms away from their trivial start
        parameter.data.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    features = {name: tokens(entities, shape, generator, missing) for name, shape in shapes.items()}
    relation = torch.randn(relations, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(entities, relations, 8, generator=generator, dtype=torch.float64)

    def gradients(z):
        loss = sum((value * probe).sum() for value in z.values())
        return torch.autograd.grad(loss, [*attention.parameters(), relation], retain_graph=True)

    state = dict(attention.named_parameters())
    rows = [
        [
            reference.kca(
                state,
                features["image"][0][n],
                features["image"][1][n],
                features["text"][0][n],
                features["text"][1][n],
                relation[r],
                SLOPE,
            )
            for r in range(relations)
        ]
        for n in range(entities)
    ]
    expected = {
        name: torch.stack([torch.stack([pair[place] for pair in row]) for row in rows])
        for place, name in enumerate(("image", "text"))
    }
    attended, gates = attention.attend(features), attention.gates(relation)
    crossed = {name: z.transpose(0, 1) for name, z in attention.crossed(attended, gates).items()}
    every = torch.arange(entities).repeat_interleave(relations)
    paired = attention.paired(
        {name: value[every] for name, value in attended.items()},
        {name: gate.repeat(entities, 1, 1) for name, gate in gates.items()},
    )
    expected_gradients = gradients(expected)
    for path in (crossed, {name: value.view(entities, relations, 8) for name, value in paired.items()}):
        for name in shapes:
            close(path[name], expected[name])
        for found, wanted in zip(gradients(path), expected_gradients, strict=True):
            close(found, wanted)


def test_single_precision_agrees_with_the_plain_path():
    torch.manual_seed(0)
    shapes = {"image": (24, 383), "text": (4, 384)}
    attention = CrossModalAttention(shapes, relation_width=20, width=50, leaky_slope=SLOPE)
    features = {
        name: (torch.randn(6, *shape), torch.ones(6, shape[0], dtype=torch.bool)) for name, shape in shapes.items()
    }
    attended, gates = attention.attend(features), attention.gates(torch.randn(6, 20))
    crossed = attention.crossed(attended, gates)
    paired = attention.paired(attended, gates)
    for name in shapes:
        diagonal = crossed[name].diagonal().T
        torch.testing.assert_close(diagonal, paired[name], rtol=1e-4, atol=1e-5)


def test_an_entity_is_identical_to_itself_as_positive_and_as_negative():
    """The released program leaves a LayerNorm out of the positive branch (docs/method.md, departure 2)."""
    torch.manual_seed(1)
    attention = CrossModalAttention({"image": (3, 4), "text": (2, 4)}, 4, 8, SLOPE).double()
    features = {
        "image": (torch.randn(2, 3, 4, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool)),
        "text": (torch.randn(2, 2, 4, dtype=torch.float64), torch.ones(2, 2, dtype=torch.bool)),
    }
    attended, gates = attention.attend(features), attention.gates(torch.randn(1, 4, dtype=torch.float64))
    negative = attention.crossed(attended, gates)
    positive = attention.paired(attended, {name: gate.expand(2, -1, -1) for name, gate in gates.items()})
    for name in features:
        cosine = torch.nn.functional.cosine_similarity(negative[name][0], positive[name])
        close(cosine, torch.ones(2, dtype=torch.float64))


def test_with_one_modality_its_tokens_attend_to_one_another():
    torch.manual_seed(2)
    attention = CrossModalAttention({"text": (3, 5)}, 4, 8, SLOPE).double()
    features = {"text": (torch.randn(2, 3, 5, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool))}
    attended = attention.attend(features)
    close(attended["text"].affinity, attended["text"].values @ attended["text"].values.transpose(1, 2))
    one, other = (
        attention.crossed(attended, attention.gates(torch.randn(1, 4, dtype=torch.float64) * 5))["text"]
        for _ in range(2)
    )
    assert (one - other).abs().max() > 1e-3, "the relation must matter"


def test_absent_tokens_change_nothing_and_never_give_nan():
    torch.manual_seed(3)
    attention = CrossModalAttention({"image": (3, 4), "text": (2, 4)}, 4, 8, SLOPE).double()
    relation = torch.randn(2, 4, dtype=torch.float64)
    image, text = torch.randn(1, 3, 4, dtype=torch.float64), torch.randn(1, 2, 4, dtype=torch.float64)
    some = torch.tensor([[True, True, False]])
    every = torch.ones(1, 2, dtype=torch.bool)

    def z(image_values, image_present, text_present):
        attended = attention.attend({"image": (image_values, image_present), "text": (text, text_present)})
        return attention.crossed(attended, attention.gates(relation))

    noisy = image.clone()
    noisy[0, 2] = 1e3
    for name in ("image", "text"):
        close(z(image, some, every)[name], z(noisy, some, every)[name])
    nothing = z(image, torch.zeros_like(some), torch.zeros_like(every))
    assert all(value.isfinite().all() for value in nothing.values())


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), entities=st.integers(1, 4), relations=st.integers(1, 3))
def test_structure_gate_equals_the_equation(seed, entities, relations):
    torch.manual_seed(seed)
    gate = StructureGate(entity_width=6, relation_width=4, hidden=5, leaky_slope=SLOPE).double()
    gate.of_entity.bias.data.normal_()
    vectors = torch.randn(entities, 6, dtype=torch.float64, requires_grad=True)
    relation = torch.randn(relations, 4, dtype=torch.float64, requires_grad=True)
    state = dict(gate.named_parameters())
    expected = torch.stack([torch.stack([reference.structure(state, e, r, SLOPE) for r in relation]) for e in vectors])
    crossed = gate.crossed(vectors, relation).transpose(0, 1)
    close(crossed, expected)
    every = torch.arange(entities).repeat_interleave(relations)
    close(gate.paired(vectors[every], relation.repeat(entities, 1)).view_as(expected), expected)
    inputs = [*gate.parameters(), vectors, relation]
    probe = torch.randn_like(expected)
    for found, wanted in zip(
        torch.autograd.grad((crossed * probe).sum(), inputs),
        torch.autograd.grad((expected * probe).sum(), inputs),
        strict=True,
    ):
        close(found, wanted)


@pytest.mark.parametrize("width", [50, 100])
def test_no_tensor_has_both_pool_and_slots_and_width(width):
    """The P x R x slots x width tensor of the plain formula must never be saved for backward (nor P x B x ...)."""
    entities, relations, keys, values = 40, 6, 24, 4
    attention = CrossModalAttention({"image": (keys, 10), "text": (values, 10)}, 5, width, SLOPE)
    features = {
        "image": (torch.randn(entities, keys, 10), torch.ones(entities, keys, dtype=torch.bool)),
        "text": (torch.randn(entities, values, 10), torch.ones(entities, values, dtype=torch.bool)),
    }
    largest = 0

    def pack(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attended = attention.attend(features)
        attention.crossed(attended, attention.gates(torch.randn(relations, 5)))
    assert largest < entities * relations * keys * width
