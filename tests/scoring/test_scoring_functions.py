"""What every scoring function owes, whichever file it lives in."""

import inspect
from pathlib import Path

import pytest
import torch

from mmrns.graph.answers import HEAD, TAIL
from mmrns.plugins import choices
from mmrns.scoring import ScoringFunction, base, kernels

FUNCTIONS = choices("mmrns.scoring", ScoringFunction)
# Options under which a function takes other ways to its numbers.
VARIANTS = [(name, {}) for name in FUNCTIONS] + [("transe", {"p": 2}), ("transe", {"p": 1.5}), ("rescal", {"block": 3})]
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


def build(name, dim=5, **options):
    return FUNCTIONS[name](dim, 6.0, **options).double()


def vectors(scoring, queries, candidates, seed=0):
    """Anchors (B, w), relations (B, v) and candidates (N, w), random in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows, numbers):
        return torch.randn(rows, numbers * scoring.dim, generator=generator, dtype=torch.float64)

    return (
        draw(queries, scoring.entity_numbers),
        draw(queries, scoring.relation_numbers),
        draw(candidates, scoring.entity_numbers),
    )


def test_the_built_in_functions_are_found():
    assert {"complex", "distmult", "pairre", "rescal", "rotate", "transe"} <= set(FUNCTIONS)


@every_variant
@pytest.mark.parametrize("dim", [1, 5])
@pytest.mark.parametrize(("queries", "candidates"), [(1, 1), (3, 1), (1, 7), (7, 13), (0, 4)])
def test_scoring_all_entities_equals_scoring_each(name, options, dim, queries, candidates):
    scoring = build(name, dim, **options)
    anchors, relations, entities = vectors(scoring, queries, candidates)
    tails = scoring.score_tails(anchors, relations, entities)
    heads = scoring.score_heads(entities, relations, anchors)
    assert tails.shape == heads.shape == (queries, candidates)
    expected = scoring.score(anchors[:, None], relations[:, None], entities)
    torch.testing.assert_close(tails, expected, rtol=0, atol=1e-10)
    expected = scoring.score(entities, relations[:, None], anchors[:, None])
    torch.testing.assert_close(heads, expected, rtol=0, atol=1e-10)


@every_variant
def test_answers_of_their_own_are_scored_alike_from_either_side(name, options):
    scoring = build(name, **options)
    anchors, relations, answers = vectors(scoring, 3, 12)
    given, by, asked = anchors[:, None], relations[:, None], answers.view(3, 4, -1)
    tails, heads = (scoring.score_answers(given, by, asked, direction) for direction in (TAIL, HEAD))
    torch.testing.assert_close(tails, scoring.score(given, by, asked), rtol=0, atol=1e-10)
    torch.testing.assert_close(heads, scoring.score(asked, by, given), rtol=0, atol=1e-10)


@every_variant
@pytest.mark.parametrize(("pairs", "offered"), [(1, 1), (3, 7), (0, 4)])
def test_scoring_all_relations_equals_scoring_each(name, options, pairs, offered):
    scoring = build(name, 5, **options)
    heads, relations, _ = vectors(scoring, max(pairs, offered), 1)
    tails, heads, relations = heads.flip(0)[:pairs], heads[:pairs], relations[:offered]
    found = scoring.score_relations(heads, tails, relations)
    assert found.shape == (pairs, offered)
    expected = scoring.score(heads[:, None], relations, tails[:, None])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@every_variant
@pytest.mark.parametrize("block", [1, 200, 1000, 40_000])
def test_the_size_of_blocks_makes_no_difference(name, options, block, monkeypatch):
    scoring = build(name, **options)
    anchors, relations, entities = vectors(scoring, 70, 33)
    monkeypatch.setattr(kernels, "_BLOCK_BYTES", block)
    for found, expected in (
        (
            base.ScoringFunction.score_tails(scoring, anchors, relations, entities),
            scoring.score(anchors[:, None], relations[:, None], entities),
        ),
        (
            base.ScoringFunction.score_heads(scoring, entities, relations, anchors),
            scoring.score(entities, relations[:, None], anchors[:, None]),
        ),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@every_variant
def test_score_broadcasts_over_any_leading_shape(name, options):
    scoring = build(name, **options)
    anchors, relations, entities = vectors(scoring, 6, 4)
    found = scoring.score(anchors.view(2, 3, 1, -1), relations.view(2, 3, 1, -1), entities.expand(3, 4, -1))
    assert found.shape == (2, 3, 4)
    assert found[1, 2, 3].item() == pytest.approx(
        scoring.score(anchors[5], relations[5], entities[3]).item(), abs=1e-10
    )


def test_no_intermediate_of_the_generic_path_exceeds_the_block(monkeypatch):
    sizes = []

    class Recording(ScoringFunction):
        def score(self, head, relation, tail):
            difference = head + relation - tail
            sizes.append(difference.numel() * 4)
            return difference.sum(-1)

    monkeypatch.setattr(kernels, "_BLOCK_BYTES", 10_000)
    scoring = Recording(16, 1.0)
    anchors, relations, entities = vectors(scoring, 100, 500)
    assert scoring.score_tails(anchors, relations, entities).shape == (100, 500)
    assert max(sizes) <= 10_000
    # Nothing was scored twice, and blocks were not far smaller than they may be.
    assert sum(sizes) == 100 * 500 * 16 * 4
    assert len(sizes) < 3 * sum(sizes) / 10_000


def test_no_intermediate_of_the_generic_path_is_kept_for_the_backward_pass(monkeypatch):
    scoring = build("rotate")
    inputs = [part.requires_grad_() for part in vectors(scoring, 20, 400)]
    anchors, relations, entities = inputs
    kept, mix = [], torch.randn(20, 400, dtype=torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        whole = scoring.score(anchors[:, None], relations[:, None], entities)
        of_all = sum(tensor.numel() for tensor in kept)
        kept.clear()
        monkeypatch.setattr(kernels, "_BLOCK_BYTES", 10_000)
        found = base.ScoringFunction.score_tails(scoring, anchors, relations, entities)
    assert sum(tensor.numel() for tensor in kept) < of_all / 4
    torch.testing.assert_close(
        torch.autograd.grad((found * mix).sum(), inputs), torch.autograd.grad((whole * mix).sum(), inputs)
    )


def zero_distance(scoring):
    """Vectors for which a distance, if there is one, is exactly zero."""
    entity = torch.full((2, scoring.entity_numbers * scoring.dim), 0.5)
    return entity, torch.zeros(2, scoring.relation_numbers * scoring.dim), entity.clone()


def all_zero(scoring):
    return tuple(torch.zeros_like(part) for part in zero_distance(scoring))


def ordinary(scoring):
    return tuple(part.float() for part in vectors(scoring, 2, 2))


@every_variant
@pytest.mark.parametrize("path", ["score", "score_tails", "score_heads"])
@pytest.mark.parametrize("inputs", [zero_distance, all_zero, ordinary])
@pytest.mark.parametrize("dim", [1, 3, 64])
def test_gradients_are_finite_at_zero_distance_too(name, options, path, inputs, dim):
    scoring = FUNCTIONS[name](dim, 6.0, **options)
    head, relation, tail = (part.requires_grad_() for part in inputs(scoring))
    scores = getattr(scoring, path)(head, relation, tail)
    assert torch.isfinite(scores).all()
    scores.sum().backward()
    for part in (head, relation, tail):
        assert torch.isfinite(part.grad).all()
    if inputs is ordinary and dim > 1:  # a normalised scalar has no gradient
        assert all(part.grad.abs().sum() > 0 for part in (head, relation, tail))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_scoring_function_is_read_at_a_glance(name):
    assert len(Path(inspect.getfile(FUNCTIONS[name])).read_text(encoding="utf-8").splitlines()) <= 30
