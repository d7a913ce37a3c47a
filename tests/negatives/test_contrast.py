"""L_con's alternatives within the sampler: whom they take for positives and negatives, against plain loops."""

from dataclasses import replace

import pytest
import torch

from mmrns.errors import UserError
from mmrns.graph.answers import TAIL, Queries
from mmrns.losses import infonce_loss, margin_loss, supcon_loss, triplet_loss
from mmrns.negatives.contrast import contrast
from tests.negatives.graphs import build, random_features, random_triples

SHAPES = {"image": (3, 4), "text": (2, 5)}
ENTITIES, RELATIONS = 12, 2
ALTERNATIVES = {
    "infonce": (infonce_loss, 0.3),
    "supcon": (supcon_loss, 0.3),
    "triplet": (triplet_loss, 0.15),
    "margin": (margin_loss, 0.15),
}


def drawn(missing=0.3, **options):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    triples = random_triples(ENTITIES, RELATIONS, generator, 40)
    features = random_features(ENTITIES, SHAPES, generator, missing)
    _, model, sampler = build(
        triples, ENTITIES, RELATIONS, features, pool_size=7, contrastive_weight=1.0, contrastive_temperature=0.3,
        contrastive_margin=0.15, **options,
    )  # fmt: skip
    queries = Queries.of(triples[:10], TAIL)
    return triples, features, sampler, queries, sampler.draw(queries, model, 1, generator, False)


@pytest.mark.parametrize("guard", [{}, {"guard": "similarity", "guard_share": 0.3}])
@pytest.mark.parametrize("kind", ALTERNATIVES)
def test_other_known_answers_are_positives_and_unmarked_candidates_negatives(kind, guard):
    triples, _, sampler, queries, negatives = drawn(contrastive_loss=kind, pool_positives=2, **guard)
    memory = negatives.memory
    pool, similarities = memory.pool, memory.similarities
    function, setting = ALTERNATIVES[kind]
    total, triples_with = 0.0, 0
    for b in range(10):
        anchor, relation, answer = (int(part[b]) for part in queries[:3])
        known = {int(t) for h, r, t in triples.tolist() if (h, r) == (anchor, relation)}
        terms = []
        for name, values in similarities.to_candidates.items():
            has = {int(e): bool(there) for e, there in zip(pool.rows, similarities.present[name], strict=True)}
            if not has[answer]:
                continue
            similar, roles, seen = [], [], set()
            for c, entity in enumerate(pool.candidates.tolist()):
                seen.add(entity)
                marked = memory.guarded is not None and bool(memory.guarded[b, c])
                if has[entity] and entity != answer and (entity in known or not marked):
                    similar.append(values[b, c])
                    roles.append(entity in known)
            for k, place in enumerate(pool.positives[b].tolist()):
                entity = int(pool.rows[place])
                if entity not in seen and entity != answer and has[entity]:
                    seen.add(entity)
                    similar.append(similarities.to_positives[name][b, k])
                    roles.append(True)
            if any(roles) and not all(roles):
                role = torch.tensor(roles)[None]
                terms.append(function(torch.stack(similar)[None], role, ~role, setting)[0].item())
        total, triples_with = total + sum(terms) / max(len(terms), 1), triples_with + bool(terms)
    assert triples_with > 0
    found = sampler.loss(negatives, torch.full((10, 3), 1 / 3, dtype=torch.float64))
    assert found.item() == pytest.approx(total / triples_with, rel=1e-9)


@pytest.mark.parametrize("kind", [*ALTERNATIVES, "self-supervised"])
def test_every_alternative_trains_the_attention(kind):
    _, _, sampler, _, negatives = drawn(contrastive_loss=kind, pool_positives=2, missing=0.0)
    loss = sampler.loss(negatives, torch.full((10, 3), 1 / 3, dtype=torch.float64))
    gradients = torch.autograd.grad(loss, list(sampler.attention.parameters()), allow_unused=True)
    assert all(value is None or value.isfinite().all() for value in gradients)
    assert any(value is not None and (value != 0).any() for value in gradients)
    weights = torch.full((10, 3), 1 / 3, dtype=torch.float64)
    tripled = contrast(replace(negatives.memory, weight=3.0), sampler.config, ENTITIES, weights)
    assert tripled.item() == pytest.approx(3 * loss.item())


def test_only_answers_with_both_pictures_and_texts_have_two_views():
    _, features, sampler, queries, negatives = drawn(contrastive_loss="self-supervised", missing=0.4)
    both = [all(bool(features.tensors[name][1][e].any()) for name in SHAPES) for e in queries.answer.tolist()]
    assert any(both) and not all(both)
    loss = sampler.loss(negatives, torch.ones(10, 3, dtype=torch.float64))
    answers = negatives.memory.similarities.answers
    for name in SHAPES:
        (gradient,) = torch.autograd.grad(loss, answers[name], retain_graph=True)
        assert (gradient[~torch.tensor(both)] == 0).all() and (gradient[torch.tensor(both)] != 0).any()


@pytest.mark.parametrize("modalities", ["structure", "image,structure"])
def test_two_views_need_two_modalities(modalities):
    with pytest.raises(UserError, match=r"^--contrastive-loss self-supervised: .*mmrns extract"):
        drawn(contrastive_loss="self-supervised", modalities=modalities)
