"""A planted graph: where one modality tells hard negatives from easy ones, the trained sampler goes there.

The entities fall into groups. A query's answers are all of one group, so the rest of that group are the hard
negatives. One modality shows the group; the others are noise. The sampler is trained jointly, as in `mmrns train`.
"""

from dataclasses import replace

import pytest
import torch

from mmrns.graph.answers import TAIL, Queries
from mmrns.negatives.pool import Pool
from mmrns.training.optimizer import build_optimizer
from mmrns.training.sampled import SampledObjective
from tests.negatives.graphs import InMemoryFeatures, build

GROUPS, SIZE, RELATIONS, STEPS = 6, 20, 2, 120
ENTITIES = GROUPS * SIZE


def planted(modality, seed=0):
    """Triples whose tails share a group, and features in which only `modality` shows the group of an entity."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(ENTITIES) % GROUPS
    heads = torch.arange(ENTITIES).repeat(6)
    relation = torch.randint(RELATIONS, (len(heads),), generator=generator)
    wanted = (group[heads] + relation + 1) % GROUPS
    tails = wanted + GROUPS * torch.randint(SIZE, (len(heads),), generator=generator)
    triples = torch.unique(torch.stack([heads, relation, tails], dim=1), dim=0)
    tensors = {}
    for name, (count, width) in {"image": (4, 12), "text": (3, 12)}.items():
        shown = torch.randn(GROUPS, count, width, generator=generator)[group]
        noise = torch.randn(ENTITIES, count, width, generator=generator)
        values = shown + 0.3 * noise if name == modality else noise
        tensors[name] = (values, torch.ones(ENTITIES, count, dtype=torch.bool))
    return triples, group, InMemoryFeatures(tensors)


def train(triples, features, exploration, **options):
    torch.manual_seed(0)
    config, model, sampler = build(
        triples, ENTITIES, RELATIONS, features, dtype=torch.float32, dim=16, attention_width=16, structure_hidden=16,
        num_negatives=8, pool_size=80, exploration=exploration, contrastive_weight=1.0, learning_rate=0.02,
        sampler_learning_rate=0.002, **options,
    )  # fmt: skip
    answers = sampler.context.answers
    objective = SampledObjective(config, model, sampler, answers, answers)
    optimizer = build_optimizer(config, objective)
    generator = torch.Generator().manual_seed(1)
    for step in range(1, STEPS + 1):
        batch = triples[torch.randint(len(triples), (64,), generator=generator)]
        objective(batch, step, generator, False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, sampler


def lift(model, sampler, triples, group, name, temperature=0.2):
    """Mass that softmax(sim_name / temperature) gives to the answer's group, over the group's share: 1 is blind."""
    queries = Queries.of(triples[::5], TAIL)
    everyone = torch.arange(ENTITIES)
    pool = Pool.of(everyone, queries.answer[:, None])
    with torch.no_grad():
        similarities = sampler.similarities(queries, model, pool, model.entities(everyone))
        values = similarities.to_candidates[name].clone()
        values[torch.arange(len(values)), queries.answer] = -torch.inf  # itself is no candidate
        mass = torch.softmax(values / temperature, dim=1)
    same = group[None] == group[queries.answer][:, None]
    same[torch.arange(len(values)), queries.answer] = False
    return float((mass * same).sum(1).mean() / ((SIZE - 1) / (ENTITIES - 1)))


def shuffled(features, name, seed=5):
    """The same features with those of one modality dealt to other entities: its pictures, or texts, mean nothing."""
    order = torch.randperm(ENTITIES, generator=torch.Generator().manual_seed(seed))
    values, present = features.tensors[name]
    return InMemoryFeatures(features.tensors | {name: (values[order], present[order])})


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_informative_modality_finds_the_hard_negatives_and_noise_is_ignored(modality):
    """Attention is crossed, so the noisy modality is read through the informative one and knows the group too: what
    shows where the knowledge comes from is to deal one modality's features to other entities, and look again."""
    triples, group, features = planted(modality)
    model, sampler = train(triples, features, exploration=1.0)
    noise = "text" if modality == "image" else "image"
    assert lift(model, sampler, triples, group, modality) > 2.0

    sampler.context = replace(sampler.context, features=shuffled(features, noise))
    assert lift(model, sampler, triples, group, modality) > 2.0, "it does not need the noise"
    sampler.context = replace(sampler.context, features=shuffled(features, modality))
    for name in (modality, noise):
        assert 0.7 < lift(model, sampler, triples, group, name) < 1.3, "the noise alone tells it nothing"


def test_structure_finds_them_where_pictures_and_texts_are_noise():
    triples, group, features = planted("none")
    model, sampler = train(triples, features, exploration=1.0)
    assert lift(model, sampler, triples, group, "structure") > 1.3
    for noise in ("image", "text"):
        assert 0.7 < lift(model, sampler, triples, group, noise) < 1.3


@pytest.mark.parametrize(("modality", "most"), [("image", 1.5)])
def test_the_draws_themselves_are_harder(modality, most):
    triples, group, features = planted(modality)
    model, sampler = train(triples, features, exploration=1.0)
    queries = Queries.of(triples, TAIL)
    drawn = sampler.draw(queries, model, STEPS, torch.Generator().manual_seed(2), False).ids
    answers = sampler.context.answers
    known = answers.contains(answers.rows(queries), torch.arange(ENTITIES).expand(len(triples), -1))
    same = group[None] == group[queries.answer][:, None]
    possible = (same & ~known).sum(1) / (~known).sum(1)
    share = (group[drawn] == group[queries.answer][:, None]).float().mean(1)
    assert float(share.mean() / possible.mean()) > most
