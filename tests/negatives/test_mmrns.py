"""The whole sampler against the equations: similarities, distribution, mask, L_con, and the joint gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrns.errors import UserError
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.negatives.exploration import exploration_temperature, normalised_entropy
from mmrns.negatives.similarity import sampling_distribution
from mmrns.training.sampled import SampledObjective
from tests.negatives import reference
from tests.negatives.graphs import build, random_features, random_triples

SHAPES = {"image": (3, 4), "text": (2, 5)}
ENTITIES, RELATIONS = 14, 3


def triples_of(generator, number=30):
    return random_triples(ENTITIES, RELATIONS, generator, number)


def reference_similarities(model, sampler, queries, features, entities):
    """sim_m(answer b, entity e) for every b and e, by the equations, one pair at a time: modality -> (B, E)."""
    attention = dict(sampler.attention.named_parameters())
    structure = dict(sampler.structure.named_parameters())
    slope, epsilon = sampler.config.leaky_slope, sampler.config.cosine_epsilon

    def z(entity, relation):
        vector = model.relations.weight[relation]
        inputs = [part for name in ("image", "text") for part in (features.tensors[name][i][entity] for i in (0, 1))]
        image, text = reference.kca(attention, *inputs, vector, slope)
        return {
            "image": image,
            "text": text,
            "structure": reference.structure(structure, model.entities.table[entity], vector, slope),
        }

    rows = {"image": [], "text": [], "structure": []}
    for answer, relation in zip(queries.answer.tolist(), queries.relation.tolist(), strict=True):
        of_answer, of_all = z(answer, relation), [z(entity, relation) for entity in entities]
        for name, found in rows.items():
            found.append(torch.stack([reference.cosine(of_answer[name], other[name], epsilon) for other in of_all]))
    return {name: torch.stack(values) for name, values in rows.items()}


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.5]), direction=st.sampled_from([HEAD, TAIL]))
def test_a_joint_step_equals_the_equations_in_value_and_gradient(seed, missing, direction):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    features = random_features(ENTITIES, SHAPES, generator, missing)
    triples = triples_of(generator)
    # The pool is the whole graph, so that the reference can name every candidate.
    config, model, sampler = build(
        triples, ENTITIES, RELATIONS, features, exploration=0.7, contrastive_weight=0.3, adversarial_temperature=0.8
    )
    answers = sampler.context.answers
    objective = SampledObjective(config, model, sampler, answers, answers)
    batch, step = triples[:6], 1 if direction == TAIL else 2
    parameters = [*model.parameters(), *sampler.parameters()]

    result = objective(batch, step, torch.Generator().manual_seed(seed), measure=True)
    found = torch.autograd.grad(result.loss, parameters, allow_unused=True)

    # --- the same step by the equations, with the same Gumbel noise and so the same draws
    queries = Queries.of(batch, direction)
    similarity = reference_similarities(model, sampler, queries, features, range(ENTITIES))
    has = {name: tensors[1].any(1) for name, tensors in features.tensors.items()}
    has["structure"] = torch.ones(ENTITIES, dtype=torch.bool)
    noise = torch.Generator().manual_seed(seed)
    sampler._positives(queries, answers.rows(queries), config.pool_positives, noise)  # consumes its share of the noise
    uniform = torch.rand(len(batch), ENTITIES, generator=noise, dtype=torch.float64)
    gumbel = -(-uniform.log()).log()
    known = [
        {
            int(t[0] if direction == HEAD else t[2])
            for t in triples
            if int(t[1]) == r and int(t[2] if direction == HEAD else t[0]) == a
        }
        for a, r in zip(queries.anchor.tolist(), queries.relation.tolist(), strict=True)
    ]
    positive, negative, vectors = [], [], []
    l_con = torch.zeros((), dtype=torch.float64)
    for b, answer in enumerate(queries.answer.tolist()):
        p = _differentiable_distribution(
            {name: values[b] for name, values in similarity.items()},
            {name: bool(has[name][answer]) for name in has},
            has,
            exploration_temperature(config.exploration, step),
        )
        masked = torch.tensor([e in known[b] for e in range(ENTITIES)])
        perturbed = (p.log() + gumbel[b]).masked_fill(masked, -torch.inf)
        drawn = perturbed.detach().topk(config.num_negatives).indices
        # Straight-through: E gets the gradient of the one-hot, s that of the soft choice.
        drawn_vectors = (
            model.entities.table[drawn]
            + reference.successive_draws(perturbed, drawn, model.entities.table.detach(), config.gumbel_temperature)
            - model.entities.table[drawn].detach()
        )
        one = Queries(*(part[b : b + 1] for part in queries[:3]), direction)
        positive.append(model.score_answers(one)[0])
        negative.append(model.score_candidates(one, drawn_vectors[None])[0])
        vectors.append(drawn)

        scores = negative[-1].detach()
        weights = torch.softmax(config.adversarial_temperature * scores, dim=0)
        weight_of = {int(e): float(w) for e, w in zip(drawn, weights, strict=True)}
        terms = []
        for name, values in similarity.items():
            if not has[name][answer]:
                continue
            positives = [(1 / ENTITIES, values[b, e]) for e in sorted(known[b]) if has[name][e]]
            negatives = [
                (weight_of.get(e, 1 / ENTITIES), values[b, e])
                for e in range(ENTITIES)
                if e not in known[b] and has[name][e]
            ]
            if negatives:
                terms.append(reference.contrastive(positives, negatives))
        if terms:
            l_con = l_con + sum(terms) / len(terms)
    triple_weights = objective._triple_weights(objective._known(batch))
    l_kgc = reference.kgc(torch.stack(positive), torch.stack(negative), config.adversarial_temperature, triple_weights)
    expected_loss = l_kgc + config.contrastive_weight * l_con / len(batch)
    expected = torch.autograd.grad(expected_loss, parameters, allow_unused=True)

    assert all(value is None or value.isfinite().all() for value in expected), "reference"
    assert all(value is None or value.isfinite().all() for value in found), "ours"
    torch.testing.assert_close(result.loss, expected_loss, rtol=1e-8, atol=1e-8)
    for name, left, right in zip([name for name, _ in objective.named_parameters()], found, expected, strict=True):
        left = torch.zeros(()) if left is None else left
        right = torch.zeros_like(left) if right is None else right
        torch.testing.assert_close(
            left.to(right.dtype).expand_as(right),
            right,
            rtol=1e-7,
            atol=1e-8,
            msg=lambda text, name=name: f"gradient of {name}: {text}",
        )


def _differentiable_distribution(similarity, answer_has, candidate_has, temperature):
    """reference.distribution with tensors in place of floats, so that it has a gradient."""
    number = len(next(iter(similarity.values())))
    total, shared = torch.zeros(number, dtype=torch.float64), torch.zeros(number, dtype=torch.float64)
    for name, values in similarity.items():
        has = candidate_has[name].double()
        weights = torch.exp(values / temperature) * has
        if answer_has[name] and has.any():
            total, shared = total + has.mean() * weights / weights.sum(), shared + has
    p = torch.where(shared > 0, total / shared.clamp_min(1), 1 / number)
    return p / p.sum()


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), candidates=st.integers(1, 7), missing=st.floats(0, 1))
def test_distribution_equals_the_equation_with_absent_modalities(seed, rows, candidates, missing):
    generator = torch.Generator().manual_seed(seed)
    names = ("image", "text", "structure")
    similarity = {
        name: torch.rand(rows, candidates, generator=generator, dtype=torch.float64) * 2 - 1 for name in names
    }
    answer = {name: torch.rand(rows, generator=generator) >= missing for name in names}
    candidate = {name: torch.rand(candidates, generator=generator) >= missing for name in names}
    p, by_modality = sampling_distribution(similarity, answer, candidate, 0.5)
    for b in range(rows):
        expected = reference.distribution(
            {name: values[b] for name, values in similarity.items()},
            {name: bool(has[b]) for name, has in answer.items()},
            candidate,
            0.5,
        )
        torch.testing.assert_close(p[b], expected, rtol=1e-8, atol=1e-10)
    for name in names:
        if candidate[name].any():
            assert (by_modality[name][:, ~candidate[name]] == 0).all()


def test_where_everything_is_present_it_is_the_papers_plain_mean():
    similarity = {name: torch.rand(3, 5, dtype=torch.float64) for name in ("image", "text", "structure")}
    present = {name: torch.ones(5, dtype=torch.bool) for name in similarity}
    p, _ = sampling_distribution(similarity, {name: has[:3] for name, has in present.items()}, present, 0.2)
    expected = sum(torch.softmax(values / 0.2, dim=1) for values in similarity.values()) / 3
    torch.testing.assert_close(p, expected)


def test_a_missing_picture_neither_attracts_nor_repels():
    """Two candidates alike in text and structure keep equal mass when one lacks a picture of average likeness."""
    similarity = {name: torch.zeros(1, 4, dtype=torch.float64) for name in ("image", "text", "structure")}
    has = {name: torch.ones(4, dtype=torch.bool) for name in similarity}
    has["image"] = torch.tensor([True, True, True, False])
    p, _ = sampling_distribution(similarity, {name: torch.ones(1, dtype=torch.bool) for name in has}, has, 0.1)
    torch.testing.assert_close(p, torch.full((1, 4), 0.25, dtype=torch.float64))


def test_known_answers_are_never_drawn_and_every_draw_is_distinct():
    generator = torch.Generator().manual_seed(0)
    triples = triples_of(generator, 60)
    features = random_features(ENTITIES, SHAPES, generator, 0.3)
    _, model, sampler = build(triples, ENTITIES, RELATIONS, features, num_negatives=8, pool_size=10, exploration=0.05)
    answers = sampler.context.answers
    for step in range(1, 40):
        queries = Queries.of(triples, TAIL if step % 2 else HEAD)
        negatives = sampler.draw(queries, model, step, generator, measure=False)
        known = answers.contains(answers.rows(queries), negatives.ids)
        assert not (known & negatives.valid).any()
        for ids, valid in zip(negatives.ids, negatives.valid, strict=True):
            assert len(set(ids[valid].tolist())) == int(valid.sum())
        assert torch.equal(negatives.vectors, model.entities(negatives.ids))


def test_annealing_follows_the_schedule_and_sharpens():
    assert exploration_temperature(10.0, 1) == 10.0
    assert exploration_temperature(10.0, 100) == pytest.approx(10 / (1 + 4.605170186))
    logits = torch.rand(4, 50)
    entropies = [float(normalised_entropy(torch.softmax(logits / t, 1))) for t in (10.0, 1.0, 0.1)]
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[0] == pytest.approx(1.0, abs=1e-3)
    assert float(normalised_entropy(torch.full((2, 8), 1 / 8))) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("gradient", ["cooperative", "adversarial", "off"])
def test_the_sign_of_the_samplers_gradient_is_an_option(gradient):
    generator = torch.Generator().manual_seed(3)
    triples = triples_of(generator)
    features = random_features(ENTITIES, SHAPES, generator)
    torch.manual_seed(0)
    config, model, sampler = build(
        triples, ENTITIES, RELATIONS, features, exploration=0.5, contrastive_weight=0.0, sampler_gradient=gradient
    )
    objective = SampledObjective(config, model, sampler, sampler.context.answers, sampler.context.answers)
    loss = objective(triples[:8], 1, torch.Generator().manual_seed(1), measure=False).loss
    found = torch.autograd.grad(loss, list(sampler.parameters()), allow_unused=True)
    if gradient == "off":
        assert all(value is None for value in found)
        return
    torch.manual_seed(0)
    config, other_model, cooperative = build(
        triples, ENTITIES, RELATIONS, features, exploration=0.5, contrastive_weight=0.0
    )
    objective = SampledObjective(config, other_model, cooperative, cooperative.context.answers, sampler.context.answers)
    loss = objective(triples[:8], 1, torch.Generator().manual_seed(1), measure=False).loss
    sign = 1 if gradient == "cooperative" else -1
    expected = torch.autograd.grad(loss, list(cooperative.parameters()), allow_unused=True)
    moved = False
    for left, right in zip(found, expected, strict=True):
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            torch.testing.assert_close(left, sign * right)
            moved = moved or bool((left != 0).any())
    assert moved, "L_kgc must train the sampler"


def test_a_detached_sampler_moves_no_embedding():
    generator = torch.Generator().manual_seed(4)
    triples = triples_of(generator)
    features = random_features(ENTITIES, SHAPES, generator)
    gradients = []
    for detach in (False, True):
        torch.manual_seed(0)
        _, model, sampler = build(triples, ENTITIES, RELATIONS, features, contrastive_weight=1.0, sampler_detach=detach)
        negatives = sampler.draw(Queries.of(triples[:8], TAIL), model, 1, torch.Generator().manual_seed(1), False)
        own = sampler.loss(negatives, torch.full((8, 3), 1 / 3, dtype=torch.float64))
        gradients.append(torch.autograd.grad(own, [model.entities.table, model.relations.weight], allow_unused=True))
    assert all(value is not None and (value != 0).any() for value in gradients[0])
    assert all(value is None for value in gradients[1])


@pytest.mark.parametrize("modalities", ["image", "text", "structure", "image,text", "text,structure"])
def test_any_choice_of_modalities_trains(modalities):
    generator = torch.Generator().manual_seed(5)
    triples = triples_of(generator)
    features = random_features(ENTITIES, SHAPES, generator, 0.3)
    config, model, sampler = build(triples, ENTITIES, RELATIONS, features, modalities=modalities, exploration=0.5)
    objective = SampledObjective(config, model, sampler, sampler.context.answers, sampler.context.answers)
    result = objective(triples[:8], 1, generator, measure=True)
    result.loss.backward()
    assert result.loss.isfinite()
    entropies = {name for name in result.metrics if name.startswith("entropy/")}
    assert entropies == {f"entropy/{name}" for name in modalities.split(",")} | {"entropy/all"}
    for parameter in (*model.parameters(), *sampler.parameters()):
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_without_features_structure_alone_is_used_and_pictures_alone_are_refused():
    triples = triples_of(torch.Generator().manual_seed(6))
    _, model, sampler = build(triples, ENTITIES, RELATIONS, None)
    assert sampler.attention is None
    sampler.draw(Queries.of(triples[:4], TAIL), model, 1, torch.Generator().manual_seed(0), measure=True)
    with pytest.raises(UserError, match=r"--modalities image,text.*mmrns extract"):
        build(triples, ENTITIES, RELATIONS, None, modalities="image,text")


def test_more_negatives_than_the_pool_are_refused():
    triples = triples_of(torch.Generator().manual_seed(7))
    with pytest.raises(UserError, match="--num-negatives 5 is larger than --pool-size 4"):
        build(triples, ENTITIES, RELATIONS, None, num_negatives=5, pool_size=4)


def test_a_modalitys_entropy_is_of_the_answers_that_have_it():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    triples = torch.tensor([[head, 0, head + 4] for head in range(8)])
    features = random_features(ENTITIES, SHAPES, generator)
    features.tensors["image"][1][8:] = False  # half of the answers
    _, model, sampler = build(triples, ENTITIES, 1, features, exploration=0.02)
    queries = Queries.of(triples, TAIL)
    negatives = sampler.draw(queries, model, 1, generator, True)
    memory = negatives.memory
    _, by_modality, _ = sampler.distribution(memory.similarities, memory.pool, memory.known, None, 1)
    expected = normalised_entropy(by_modality["image"][:4], memory.similarities.present["image"][:ENTITIES])
    torch.testing.assert_close(negatives.metrics["entropy/image"], expected)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_other_known_answers_are_brought_wherever_there_are_any(number):
    triples = torch.tensor([[head, 0, tail] for head in range(4) for tail in range(4, 6 + head)])  # 1 to 4 others
    _, _, sampler = build(triples, ENTITIES, 1, None)
    queries = Queries.of(triples, TAIL)
    rows = sampler.context.answers.rows(queries)
    positives, real = sampler._positives(queries, rows, number, torch.Generator().manual_seed(0))
    for head, answer, entities, which in zip(
        triples[:, 0].tolist(), queries.answer.tolist(), positives, real, strict=True
    ):
        found = entities[which].tolist()
        assert found[0] == answer and len(set(found)) == len(found) == 1 + min(number, head + 1)
        assert set(found) <= set(range(4, 6 + head))


def test_the_models_own_score_can_be_a_likeness_and_has_no_gradient():
    generator = torch.Generator().manual_seed(6)
    torch.manual_seed(6)
    triples = triples_of(generator)
    _, model, sampler = build(
        triples, ENTITIES, RELATIONS, None, modalities="score", exploration=0.5, contrastive_weight=0.3
    )
    queries = Queries.of(triples[:6], HEAD)
    negatives = sampler.draw(queries, model, 1, generator, True)
    memory = negatives.memory
    for b, row in enumerate(model.score_all(queries.anchor, queries.relation, HEAD).tolist()):
        mean = sum(row) / ENTITIES
        deviation = (sum((value - mean) ** 2 for value in row) / ENTITIES) ** 0.5
        expected = torch.tensor([(value - mean) / deviation for value in row], dtype=torch.float64)
        torch.testing.assert_close(memory.similarities.to_candidates["score"][b], expected)
    assert not list(sampler.parameters()) and sampler.loss(negatives, torch.ones(6, 3, dtype=torch.float64)) == 0
    assert not memory.similarities.to_candidates["score"].requires_grad
    assert set(negatives.metrics) >= {"entropy/score", "entropy/all", "hardness"}


def test_a_guard_by_similarity_needs_one():
    triples = triples_of(torch.Generator().manual_seed(7))
    with pytest.raises(UserError, match="--guard similarity: --modalities score has no similarity"):
        build(triples, ENTITIES, RELATIONS, None, modalities="score", guard="similarity")
