"""How sharp the distribution is: solved temperatures, schedules over the run, and uniform draws among the others."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from mmrns.config_io import load_config
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.negatives.exploration import entropy_target, hardness, normalised_entropy, solve_temperature, solving_rows
from mmrns.negatives.uniform import uniform_draws
from mmrns.training.sampled import SampledObjective
from tests.negatives.graphs import build, random_features, random_triples

SHAPES = {"image": (3, 4), "text": (2, 5)}
ENTITIES, RELATIONS = 40, 3


def built(seed=0, missing=0.2, **options):
    """Triples, a sampler over them, and a batch of their queries."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    triples = random_triples(ENTITIES, RELATIONS, generator, 60)
    features = random_features(ENTITIES, SHAPES, generator, missing)
    config, model, sampler = build(triples, ENTITIES, RELATIONS, features, num_negatives=8, **options)
    return triples, config, model, sampler


def draw(triples, model, sampler, step=1, measure=True, seed=3):
    queries = Queries.of(triples[:20], TAIL)
    return queries, sampler.draw(queries, model, step, torch.Generator().manual_seed(seed), measure)


def plain_entropy(logits, temperature, possible):
    """Mean over rows of a softmax's entropy over the log of its number of outcomes, in loops."""
    values = []
    for row, allowed in zip(logits.tolist(), possible.tolist(), strict=True):
        kept = [value / temperature for value, there in zip(row, allowed, strict=True) if there]
        weights = [math.exp(value - max(kept)) for value in kept]
        p = [weight / sum(weights) for weight in weights]
        values.append(-sum(x * math.log(x) for x in p if x > 0) / math.log(max(len(p), 2)))
    return sum(values) / len(values)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), target=st.floats(0.3, 0.99), masked=st.floats(0, 0.6))
def test_the_solved_temperature_is_that_of_a_root_finder(seed, target, masked):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 30, generator=generator, dtype=torch.float64)
    possible = torch.rand(5, 30, generator=generator) >= masked
    possible[:, :3] = True

    def distribution(temperature):
        return torch.softmax((logits / temperature).masked_fill(~possible, -torch.inf), dim=1)

    found = solve_temperature(distribution, possible, target)
    expected = brentq(lambda t: plain_entropy(logits, t, possible) - target, 1e-3, 1e3)
    assert float(found) == pytest.approx(expected, rel=2e-3)
    assert plain_entropy(logits, float(found), possible) == pytest.approx(target, abs=1e-3)


@pytest.mark.parametrize(("target", "bound"), [(1.0, 100.0), (0.0, 0.001)])
def test_a_target_out_of_reach_gives_the_nearest_temperature(target, bound):
    logits = torch.arange(12.0).view(2, 6)
    tied = torch.cat([logits, logits], dim=1)  # two equal outcomes: never below log 2
    found = solve_temperature(lambda t: torch.softmax(tied / t, dim=1), torch.ones(2, 12, dtype=torch.bool), target)
    assert float(found) == pytest.approx(bound, rel=1e-2)


def test_a_batch_is_solved_on_rows_spread_over_it():
    assert solving_rows(5, torch.device("cpu")).tolist() == [0, 1, 2, 3, 4]
    rows = solving_rows(512, torch.device("cpu"))
    assert len(rows) == 32 and rows[0] == 0 and rows[-1] == 496
    for number in (33, 63, 95, 400):
        rows = solving_rows(number, torch.device("cpu"))
        assert len(rows) == 32 and rows[0] == 0 and rows[-1] == number * 31 // 32
        assert set((rows[1:] - rows[:-1]).tolist()) <= {number // 32, number // 32 + 1}


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_target_falls_from_uniform_over_its_share_of_the_run(schedule):
    config = load_config({"entropy_target": 0.8, "entropy_anneal": 0.4, "entropy_schedule": schedule})
    assert entropy_target(config, 0.0) == pytest.approx(1.0)
    assert entropy_target(config, 0.2) == pytest.approx(0.9)
    quarter = 0.95 if schedule == "linear" else 1 - 0.2 * (1 - math.cos(math.pi / 4)) / 2
    assert entropy_target(config, 0.1) == pytest.approx(quarter)
    assert [entropy_target(config, share) for share in (0.4, 0.7, 1.0)] == pytest.approx([0.8] * 3)


def test_without_annealing_the_target_holds_from_the_start():
    config = load_config({"entropy_target": 0.8, "entropy_anneal": 0.0})
    assert entropy_target(config, 0.01) == pytest.approx(0.8)


@pytest.mark.parametrize("options", [{}, {"guard": "similarity", "guard_share": 0.2}, {"similarity": "standardised"}])
@pytest.mark.parametrize("target", [0.95, 0.7])
def test_draws_come_from_a_distribution_of_the_target_entropy(target, options):
    triples, _, model, sampler = built(entropy_target=target, entropy_anneal=0.0, **options)
    _, negatives = draw(triples, model, sampler)
    assert float(negatives.metrics["entropy/all"]) == pytest.approx(target, abs=2e-3)


def test_the_target_is_of_the_steps_place_in_the_run():
    triples, _, model, sampler = built(entropy_target=0.7, entropy_anneal=0.5, total_steps=100)
    for step, target in ((25, 0.85), (50, 0.7), (90, 0.7)):
        _, negatives = draw(triples, model, sampler, step)
        assert float(negatives.metrics["entropy/all"]) == pytest.approx(target, abs=2e-3)


@pytest.mark.parametrize("gradient", ["cooperative", "off"])
def test_a_share_of_the_negatives_is_uniform_over_the_graph(gradient):
    triples, _, model, sampler = built(uniform_share=0.25, pool_size=9, sampler_gradient=gradient)
    queries, negatives = draw(triples, model, sampler)
    answers = sampler.context.answers
    assert negatives.ids.shape == (20, 8) and negatives.valid.shape == (20, 8)
    assert not (answers.contains(answers.rows(queries), negatives.ids) & negatives.valid).any()
    assert len(negatives.ids[:, :6].unique()) <= 9  # of the pool
    assert len(negatives.ids[:, 6:].unique()) > 15  # of the graph
    if gradient == "off":
        assert negatives.vectors is None
    else:
        torch.testing.assert_close(negatives.vectors, model.entities(negatives.ids))
    assert sampler.loss(negatives, torch.full((20, 8), 1 / 8, dtype=torch.float64)).isfinite()


def test_all_of_them_uniform_and_no_l_con_is_the_uniform_sampler():
    triples, _, model, sampler = built(uniform_share=1.0, contrastive_weight=0.0)
    queries, negatives = draw(triples, model, sampler)
    answers = sampler.context.answers
    ids, valid = uniform_draws(answers, answers.rows(queries), 8, torch.Generator().manual_seed(3))
    assert torch.equal(negatives.ids, ids) and torch.equal(negatives.valid, valid)
    assert negatives.vectors is None and not negatives.metrics


def test_warm_up_draws_uniformly_while_l_con_trains_the_similarities():
    triples, config, model, sampler = built(
        uniform_warmup=0.3, contrastive_weight=0.01, contrastive_warmup=0.2, contrastive_warmup_weight=2.0,
        total_steps=10, pool_size=9,
    )  # fmt: skip
    objective = SampledObjective(config, model, sampler, sampler.context.answers, sampler.context.answers)
    for step, uniform, beta in ((1, True, 2.0), (2, True, 2.0), (3, True, 0.01), (4, False, 0.01)):
        _, negatives = draw(triples, model, sampler, step)
        assert (len(negatives.ids.unique()) > 9) == uniform
        assert ("entropy/all" in negatives.metrics) == (not uniform)
        assert negatives.memory.weight == beta
        loss = objective(triples[:20], step, torch.Generator().manual_seed(1), measure=False).loss
        moved = torch.autograd.grad(loss, list(sampler.parameters()), allow_unused=True)
        assert any(value is not None and (value != 0).any() for value in moved)


def test_l_con_counts_by_its_weight_at_the_step():
    losses = []
    for beta in (0.5, 2.0):
        triples, _, model, sampler = built(contrastive_warmup=1.0, contrastive_warmup_weight=beta, total_steps=5)
        _, negatives = draw(triples, model, sampler)
        losses.append(sampler.loss(negatives, torch.full((20, 8), 1 / 8, dtype=torch.float64)).item())
    assert losses[1] == pytest.approx(4 * losses[0])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_l_con_has_its_positives_whenever_it_counts(weight):
    """--contrastive-warmup with --contrastive-weight 0 once compared with the pool's positives alone."""
    early = {"contrastive_warmup": 0.5, "contrastive_warmup_weight": 1.0, "pool_positives": 3, "total_steps": 10}
    triples, _, model, sampler = built(contrastive_weight=weight, **early)
    widths = [draw(triples, model, sampler, step)[1].memory.pool.positives.shape[1] for step in (1, 10)]
    assert widths == [4, 4 if weight else 1]


def test_rows_with_nothing_to_choose_say_nothing_of_the_entropy():
    p = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0], [torch.nan] * 3])
    possible = torch.tensor([[True, True, False], [True, False, False], [False] * 3])
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert float(normalised_entropy(p, possible)) == pytest.approx(expected, abs=1e-6)
    assert float(normalised_entropy(p, torch.zeros(3, dtype=torch.bool))) == 0


@pytest.mark.parametrize("direction", [TAIL, HEAD])
def test_hardness_is_the_gain_in_score_over_uniform_draws(direction):
    triples, _, model, _ = built()
    queries = Queries.of(triples[:6], direction)
    everyone = model.entities(torch.arange(ENTITIES))
    generator = torch.Generator().manual_seed(1)
    known = torch.rand(6, ENTITIES, generator=generator) < 0.2
    drawn = torch.rand(6, ENTITIES, generator=generator).topk(4, dim=1).indices
    drawable = torch.rand(6, 4, generator=generator) < 0.8
    drawable[:, 0], drawable[2] = True, False  # one row could not draw at all: it says nothing
    differences = []
    for b in (0, 1, 3, 4, 5):
        one = Queries(*(part[b : b + 1] for part in queries[:3]), direction)
        scores = [model.score_candidates(one, everyone[None, e : e + 1]).item() for e in range(ENTITIES)]
        hard = [scores[c] for c, there in zip(drawn[b].tolist(), drawable[b].tolist(), strict=True) if there]
        easy = [score for score, listed in zip(scores, known[b].tolist(), strict=True) if not listed]
        differences.append(sum(hard) / len(hard) - sum(easy) / len(easy))
    found = hardness(model, queries, model.entities(queries.anchor), everyone, known, drawn, drawable)
    assert float(found) == pytest.approx(sum(differences) / 5, rel=1e-9)
    nothing = torch.zeros_like(drawable)
    assert float(hardness(model, queries, model.entities(queries.anchor), everyone, known, drawn, nothing)) == 0


def test_hardness_is_logged_and_grows_as_the_entropy_falls():
    """Where the model scores by the same likeness that the sampler sees, a sharper distribution finds higher scores."""
    found = []
    for target in (1.0, 0.6):
        triples, _, model, sampler = built(
            missing=0.0, modalities="structure", model="distmult", entropy_target=target, entropy_anneal=0.0
        )
        with torch.no_grad():  # an answer's own vector is what its query asks for
            model.relations.weight.fill_(1.0)
        triples = torch.stack([triples[:, 0], triples[:, 1], triples[:, 0]], dim=1)
        values = [
            draw(triples, model, sampler, seed=seed)[1].metrics["hardness"] / model.entities.table.square().mean()
            for seed in range(20)
        ]
        found.append(torch.stack(values).mean().item())
    assert abs(found[0]) < 0.2 and found[1] > found[0] + 0.3
