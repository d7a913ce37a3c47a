"""Centred and standardised vectors, against the same written in loops."""

import pytest
import torch

from mmrns.graph.answers import TAIL, Queries
from mmrns.negatives.pool import Pool
from mmrns.negatives.similarity import spread
from tests.negatives import reference
from tests.negatives.graphs import build, random_features, random_triples
from tests.negatives.test_mmrns import ENTITIES, RELATIONS, SHAPES, reference_similarities

KINDS = ["centred", "standardised"]


def plain_spread(candidates, present, kind):
    """Mean and scale of ONE relation's candidates (P, a), a dimension at a time."""
    kept = [row for row, there in zip(candidates, present, strict=True) if there]
    mean = sum(kept) / max(len(kept), 1) if kept else torch.zeros_like(candidates[0])
    if kind == "centred":
        return mean, torch.ones_like(mean)
    variance = sum((row - mean) ** 2 for row in kept) / len(kept) if kept else torch.zeros_like(mean)
    return mean, torch.sqrt(variance + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("present", [[True] * 5, [True, False, True, True, False], [False] * 5])
def test_what_is_taken_away_is_that_of_the_candidates_that_have_it(kind, present):
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    found = spread(candidates, torch.tensor(present), kind)
    rows = [plain_spread(part, present, kind) for part in candidates]
    expected = tuple(torch.stack(part) for part in zip(*rows, strict=True))
    mix = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right)
    if any(present):
        left, right = (
            torch.autograd.grad(
                ((candidates - mean[:, None]) / scale[:, None]).square().sum(1).mul(mix).sum(), candidates
            )
            for mean, scale in (found, expected)
        )
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dimension_in_which_all_agree_has_a_finite_gradient(kind):
    candidates = torch.ones(1, 4, 3, requires_grad=True)
    mean, scale = spread(candidates, torch.ones(4, dtype=torch.bool), kind)
    (gradient,) = torch.autograd.grad(((candidates - mean[:, None]) / scale[:, None]).sum() + scale.sum(), candidates)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_cosines_are_of_the_spread_vectors(kind, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    triples = random_triples(ENTITIES, RELATIONS, generator)
    features = random_features(ENTITIES, SHAPES, generator, 0.3)
    _, model, sampler = build(triples, ENTITIES, RELATIONS, features, similarity=kind)
    queries = Queries.of(triples[:5], TAIL)
    candidates = torch.arange(0, ENTITIES, 2)
    pool = Pool.of(candidates, torch.stack([queries.answer, queries.anchor], dim=1))
    found = sampler.similarities(queries, model, pool, model.entities(pool.rows))
    has = {name: values.tolist() for name, values in found.present.items()}

    # The reference's vectors: what it would take the cosine of.
    with monkeypatch.context() as patch:
        patch.setattr(reference, "cosine", lambda left, right, epsilon: right)
        vectors = reference_similarities(model, sampler, queries, features, range(ENTITIES))
    for name, z in vectors.items():  # (B, E, a): z of entity e under the relation of query b
        for b, answer in enumerate(queries.answer.tolist()):
            mean, scale = plain_spread(z[b, candidates], has[name][: len(candidates)], kind)
            moved = (z[b] - mean) / scale
            epsilon = sampler.config.cosine_epsilon
            expected = torch.stack([reference.cosine(moved[answer], moved[c], epsilon) for c in candidates.tolist()])
            torch.testing.assert_close(found.to_candidates[name][b], expected, rtol=1e-7, atol=1e-9)
            expected = reference.cosine(moved[answer], moved[int(queries.anchor[b])], epsilon)
            torch.testing.assert_close(found.to_positives[name][b, 1], expected, rtol=1e-7, atol=1e-9)


def test_a_common_part_hides_differences_until_it_is_taken_away():
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(1, 50, 8, generator=generator) + 20
    mean, scale = spread(z, torch.ones(50, dtype=torch.bool), "centred")
    moved = (z - mean[:, None]) / scale[:, None]
    plain, centred = (torch.nn.functional.cosine_similarity(v[0, :1], v[0, 1:]) for v in (z, moved))
    assert plain.std() < 0.01 and centred.std() > 0.2
