"""The sampled objective: its subsampling weights, its parts, and that measuring changes nothing."""

from collections import Counter

import pytest
import torch

from mmrns import load_dataset
from mmrns.config import Config
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.losses import sampled_softmax_loss, self_adversarial_weights
from mmrns.negatives.base import SamplerContext, build_sampler
from mmrns.scoring import build_model
from mmrns.training.sampled import SampledObjective
from tests.negatives import reference
from tests.tiny import ENTITIES, RELATIONS


@pytest.fixture
def make(tiny_graph):
    dataset = load_dataset(tiny_graph)
    train, held_out = dataset.answers("train"), dataset.answers("valid", "test")

    def build(**options):
        config = Config(**({"dim": 6, "num_negatives": 5, "pool_size": 20, "sampler": "uniform"} | options))
        torch.manual_seed(0)
        model = build_model(
            "distmult",
            ENTITIES,
            RELATIONS,
            config.dim,
            config.gamma,
            reciprocal=config.reciprocal,
            entity_dropout=config.entity_dropout,
        ).double()
        sampler = build_sampler(config, SamplerContext(train, None, config.dim, config.dim)).double()
        objective = SampledObjective(config, model, sampler, train, held_out)
        objective.triples = torch.from_numpy(dataset.train[:40])
        objective.dataset = dataset
        return objective

    return build


def generator():
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_subsampling_weights_are_those_of_a_plain_count(make, offset):
    objective = make(subsampling_offset=offset)
    triples = {tuple(triple) for triple in objective.dataset.train.tolist()}
    tails, heads = Counter((h, r) for h, r, _ in triples), Counter((r, t) for _, r, t in triples)
    expected = [(tails[h, r] + offset + heads[r, t] + offset) ** -0.5 for h, r, t in objective.triples.tolist()]
    found = objective._triple_weights(objective._known(objective.triples))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    assert len(set(expected)) > 1


def test_without_subsampling_every_triple_weighs_one(make):
    objective = make(subsampling=False)
    assert objective._triple_weights(objective._known(objective.triples)).tolist() == [1.0] * 40


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
@pytest.mark.parametrize(("step", "direction"), [(1, TAIL), (2, HEAD)])
@pytest.mark.parametrize("reciprocal", [False, True])
def test_the_loss_is_the_equation_over_what_was_drawn(make, sampler, step, direction, reciprocal):
    objective = make(
        sampler=sampler,
        adversarial_temperature=0.5,
        contrastive_weight=0.3,
        regularization=0.01,
        reciprocal=reciprocal,
    )
    result = objective(objective.triples, step, generator(), False)
    queries = Queries.of(objective.triples, direction)
    drawn = objective.sampler.draw(queries, objective.model, step, generator(), False)
    with torch.no_grad():
        scores = objective.model.score_all(queries.anchor, queries.relation, direction)
        positive, negative = scores.gather(1, queries.answer[:, None])[:, 0], scores.gather(1, drawn.ids)
        weights = objective._triple_weights(objective._known(objective.triples))
        expected = reference.kgc(positive, negative, 0.5, weights)
        expected = expected + objective.sampler.loss(drawn, self_adversarial_weights(negative, 0.5, drawn.valid))
        table, relations = objective.model.entities.table, objective.model.relations.weight
        head, relation, tail = objective.triples.unbind(1)
        if reciprocal and direction == HEAD:  # asked under the inverse relation, whose row is penalised then
            relation = relation + RELATIONS
        cubes = sum((part.abs() ** 3).sum() for part in (table[head], relations[relation], table[tail]))
        expected = expected + 0.01 * cubes / 40
    torch.testing.assert_close(result.loss.detach(), expected, rtol=1e-8, atol=1e-8)
    assert result.metrics == {}


@pytest.mark.parametrize("step", [1, 2])
def test_softmax_over_what_was_drawn_knows_how_many_entities_each_stands_for(make, step):
    objective = make(sampled_loss="softmax", sampler="mmrns", modalities="score", importance_correction=1)
    result = objective(objective.triples, step, generator(), False)
    queries = Queries.of(objective.triples, TAIL if step % 2 else HEAD)
    drawn = objective.sampler.draw(queries, objective.model, step, generator(), False)
    known = {(a, r): set() for a, r in zip(queries.anchor.tolist(), queries.relation.tolist(), strict=True)}
    for h, r, t in objective.dataset.train.tolist():
        anchor, answer = (h, t) if step % 2 else (t, h)
        known.get((anchor, r), set()).add(answer)
    others = [
        len(objective.dataset.entities) - len(known[a, r])
        for a, r in zip(queries.anchor.tolist(), queries.relation.tolist(), strict=True)
    ]
    with torch.no_grad():
        scores = objective.model.score_all(queries.anchor, queries.relation, queries.direction)
        positive, negative = scores.gather(1, queries.answer[:, None])[:, 0], scores.gather(1, drawn.ids)
        weights = objective._triple_weights(objective._known(objective.triples))
        expected = sampled_softmax_loss(
            positive, negative, torch.tensor(others), weights, drawn.valid, drawn.correction
        )
    own = objective.sampler.loss(drawn, self_adversarial_weights(negative, 1.0, drawn.valid, drawn.correction))
    torch.testing.assert_close(result.loss.detach(), expected + own.detach(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_measuring_does_not_change_the_step_or_the_next(make, sampler, dropout):
    gradients, states = [], []
    for measure in (False, True):
        objective = make(sampler=sampler, entity_dropout=dropout)
        result = objective(objective.triples, 3, generator(), measure)
        result.loss.backward()
        gradients.append([p.grad for p in objective.parameters() if p.grad is not None])
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert len(gradients[0]) == len(gradients[1]) > 0
    for without, with_measure in zip(*gradients, strict=True):
        assert torch.equal(without, with_measure)


def test_the_false_negative_rate_counts_answers_of_valid_and_test(make):
    objective = make(num_negatives=50)
    metrics = objective(objective.triples, 1, generator(), True).metrics
    queries = Queries.of(objective.triples, TAIL)
    drawn = objective.sampler.draw(queries, objective.model, 1, generator(), False).ids.tolist()
    held_out = {tuple(t) for name in ("valid", "test") for t in objective.dataset.split(name).tolist()}
    missed = [
        (h, r, e) in held_out for (h, r, _), row in zip(objective.triples.tolist(), drawn, strict=True) for e in row
    ]
    assert metrics["false_negative_rate"].item() == pytest.approx(sum(missed) / len(missed))
    assert any(missed)
