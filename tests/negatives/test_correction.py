"""The importance correction: odds of a draw, sums that it estimates, and what it leaves to the guard."""

import math

import pytest
import torch

from mmrns.graph.answers import TAIL, Queries
from mmrns.losses import self_adversarial_weights
from mmrns.negatives.gumbel import gumbel_top_k
from tests.negatives.graphs import build, random_features, random_triples

SHAPES = {"image": (3, 4), "text": (2, 5)}
ENTITIES, RELATIONS = 14, 3


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_importance_correction_is_the_log_odds_of_a_draw(share, monkeypatch):
    generator = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    triples = random_triples(ENTITIES, RELATIONS, generator, 30)
    features = random_features(ENTITIES, SHAPES, generator, 0.3)
    options = {"exploration": 0.3, "num_negatives": 8, "uniform_share": share, "importance_correction": 0.5}
    _, model, sampler = build(triples, ENTITIES, RELATIONS, features, **options)
    seen = []
    monkeypatch.setattr(
        "mmrns.negatives.mmrns.gumbel_top_k", lambda log_p, *rest: seen.append(log_p) or gumbel_top_k(log_p, *rest)
    )
    negatives = sampler.draw(Queries.of(triples[:6], TAIL), model, 1, generator, False)
    number = round(8 * (1 - share))
    for b in range(6):
        p = seen[0][b].exp()
        p = (p / p.sum()).tolist()
        possible = sum(value > 0 for value in p)
        for i, column in enumerate(negatives.memory.drawn[b].tolist()):
            if negatives.valid[b, i]:
                assert negatives.correction[b, i].item() == pytest.approx(0.5 * math.log(p[column] * possible))
        assert (negatives.correction[b, number:] == 0).all() and negatives.correction.shape == (6, 8)


def test_in_proportion_to_e_to_the_score_and_corrected_for_inclusion():
    """--score-scale raw at a constant epsilon of 1; and what the correction is then, and adds up to."""
    generator = torch.Generator().manual_seed(6)
    torch.manual_seed(6)
    triples = random_triples(ENTITIES, RELATIONS, generator, 30)
    _, model, sampler = build(
        triples, ENTITIES, RELATIONS, None, modalities="score", score_scale="raw", exploration=1.0,
        exploration_schedule="constant", num_negatives=6, importance_correction=1.0, correction_for="inclusion",
        pool_size=0,
    )  # fmt: skip
    queries = Queries.of(triples[:5], TAIL)
    scores = model.score_all(queries.anchor, queries.relation, TAIL).detach().double()
    known = [{int(t) for h, r, t in triples.tolist() if (h, r) == (int(a), int(q))}
             for a, q in zip(queries.anchor, queries.relation, strict=True)]  # fmt: skip
    estimates, draws = torch.zeros(5, ENTITIES, dtype=torch.float64), 4000
    for step in range(1, draws + 1):  # the same at every step
        negatives = sampler.draw(queries, model, step, generator, False)
        weight = torch.where(negatives.valid, (-negatives.correction).double().exp(), 0.0)
        estimates.scatter_add_(1, negatives.ids, weight / draws)
    for b in range(5):
        free = [e for e in range(ENTITIES) if e not in known[b]]
        # Mean weight of each candidate is n / M, whatever its score: that of uniform draws.
        found = estimates[b][free] * len(free) / 6
        p = torch.softmax(scores[b][free], dim=0)
        assert found.mean() == pytest.approx(1, abs=0.05)
        likely = p > p.median()
        torch.testing.assert_close(found[likely], torch.ones_like(found[likely]), atol=0.2, rtol=0)


@pytest.mark.parametrize("correction_for", ["draw", "inclusion"])
@pytest.mark.parametrize("weight", [0.3, 0.05])
def test_the_correction_leaves_the_guard_its_weight(correction_for, weight):
    torch.manual_seed(0)
    triples = torch.tensor([[0, 0, 1]]).expand(4000, 3)
    _, model, sampler = build(
        triples, ENTITIES, 1, None, modalities="structure", guard="similarity", guard_share=0.3, guard_weight=weight,
        num_negatives=2, importance_correction=1.0, correction_for=correction_for, exploration=1.0,
    )  # fmt: skip
    negatives = sampler.draw(Queries.of(triples, TAIL), model, 1, torch.Generator().manual_seed(0), False)
    came = torch.zeros(ENTITIES, dtype=torch.float64)
    came.index_add_(0, negatives.ids.flatten(), (-negatives.correction).exp().flatten())
    guarded = negatives.memory.guarded[0]
    free = ~guarded & ~negatives.memory.known[0]
    assert guarded.sum() == 4
    assert float(came[guarded].mean() / came[free].mean()) == pytest.approx(weight, rel=0.2)


def test_where_all_that_can_be_drawn_are_drawn_each_stands_for_itself():
    torch.manual_seed(0)
    triples = torch.tensor([[0, 0, tail] for tail in range(1, 7)])  # 8 of 14 are left
    _, model, sampler = build(
        triples, ENTITIES, 1, None, modalities="score", score_scale="raw", exploration=1.0, num_negatives=12,
        importance_correction=1.0, correction_for="inclusion",
    )  # fmt: skip
    negatives = sampler.draw(Queries.of(triples, TAIL), model, 1, torch.Generator().manual_seed(0), False)
    assert negatives.valid.sum(1).tolist() == [8] * 6
    assert not negatives.correction.any()


def test_the_corrected_sum_estimates_that_of_uniform_sampling():
    """Draws from a sharp distribution, corrected, give the self-adversarial sum over all; uncorrected, another."""
    generator = torch.Generator().manual_seed(0)
    scores, loss = torch.randn(200, generator=generator), torch.rand(200, generator=generator)
    p = torch.softmax(scores, dim=0)  # it prefers what scores high
    truth = float((torch.softmax(0.5 * scores, dim=0) * loss).sum())
    drawn = torch.multinomial(p, 200_000, replacement=True, generator=generator)
    odds = (p * 200).log()[drawn]
    corrected = self_adversarial_weights(scores[drawn][None], 0.5, None, odds[None])[0]
    plain = self_adversarial_weights(scores[drawn][None], 0.5)[0]
    assert float((corrected * loss[drawn]).sum()) == pytest.approx(truth, rel=0.01)
    assert abs(float((plain * loss[drawn]).sum()) - truth) > 0.01 * truth
