"""The guard against false negatives: what it marks, against plain loops, and what it does to draws and to L_con."""

import math
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrns.graph.answers import TAIL, AnswerIndex, Queries
from mmrns.negatives import guard as guard_module
from mmrns.negatives import mmrns as sampler_module
from mmrns.negatives.contrast import contrast
from mmrns.negatives.guard import CoAnswers, highest, known_columns, mean_similarity
from mmrns.negatives.pool import Pool
from mmrns.negatives.similarity import Similarities
from tests.negatives import reference
from tests.negatives.graphs import build, random_features, random_triples

SHAPES = {"image": (3, 4), "text": (2, 5)}
ENTITIES, RELATIONS = 25, 2
KINDS = ["similarity", "score", "co-answers"]


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.9), barred=st.floats(0, 1))
def test_the_highest_are_those_of_a_sorted_row(seed, share, barred):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 17, generator=generator)
    eligible = torch.rand(3, 17, generator=generator) >= barred
    found = highest(values, share, eligible)
    for row, allowed, marked in zip(values.tolist(), eligible.tolist(), found.tolist(), strict=True):
        ranked = sorted((c for c in range(17) if allowed[c]), key=lambda c: -row[c])
        assert {c for c in range(17) if marked[c]} == set(ranked[: round(share * 17)])


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), missing=st.floats(0, 1))
def test_mean_similarity_is_over_the_modalities_that_both_have(seed, missing):
    generator = torch.Generator().manual_seed(seed)
    pool = Pool.of(torch.arange(6), torch.tensor([[2], [8], [5]]))
    values = {name: torch.rand(3, 6, generator=generator, dtype=torch.float64) for name in ("image", "text")}
    present = {name: torch.rand(7, generator=generator) >= missing for name in values}
    found = mean_similarity(Similarities(values, dict.fromkeys(values), present), pool)
    for b, answer in enumerate((2, 6, 5)):
        for c in range(6):
            shared = [float(values[name][b, c]) for name in values if present[name][answer] and present[name][c]]
            assert float(found[b, c]) == pytest.approx(sum(shared) / len(shared) if shared else -math.inf)


def test_a_candidate_that_shares_no_modality_with_the_answer_is_not_marked():
    generator = torch.Generator().manual_seed(0)
    triples = torch.tensor([[0, 0, 1], [0, 0, 2]])
    features = random_features(ENTITIES, SHAPES, generator)
    for _, present in features.tensors.values():
        present[2] = False
    _, model, sampler = build(
        triples, ENTITIES, 1, features, modalities="image,text", guard="similarity", guard_share=0.2
    )
    negatives = sampler.draw(Queries.of(triples, TAIL), model, 1, generator, False)
    assert negatives.memory.guarded.sum(1).tolist() == [5, 0]


@pytest.mark.parametrize("way", ["listed", "looked up"])
def test_known_columns_are_the_same_whichever_way_is_cheaper(way, monkeypatch):
    triples = random_triples(ENTITIES, RELATIONS, torch.Generator().manual_seed(0), 60)
    index = AnswerIndex(triples, ENTITIES, RELATIONS)
    other_way = "contains" if way == "listed" else "pairs"
    monkeypatch.setattr(guard_module, "_LOOK_UPS_AN_ANSWER", 0 if way == "listed" else 1000)
    monkeypatch.setattr(AnswerIndex, other_way, None)
    queries = Queries.of(torch.cat([triples, torch.tensor([[ENTITIES - 1, 0, 0]])]), TAIL)
    pool = Pool.of(torch.arange(0, ENTITIES, 2), queries.answer[:, None])
    found = known_columns(index, index.rows(queries), pool)
    listed = {tuple(triple) for triple in triples.tolist()}
    for anchor, relation, row in zip(queries.anchor.tolist(), queries.relation.tolist(), found.tolist(), strict=True):
        assert row == [(anchor, relation, entity) in listed for entity in pool.candidates.tolist()]


def plain_co_answers(triples, most, largest):
    """entity -> its heaviest co-answers, by counting over pairs of answers of each query."""
    queries = defaultdict(set)
    for h, r, t in triples.tolist():
        queries["tail", h, r].add(t)
        queries["head", t, r].add(h)
    weight = defaultdict(lambda: defaultdict(float))
    for answers in queries.values():
        for a in answers:
            for b in answers - {a}:
                if len(answers) <= largest:
                    weight[a][b] += 1 / math.log(1 + len(answers))
    return {a: set(sorted(others, key=lambda b: (-round(others[b], 9), b))[:most]) for a, others in weight.items()}


@pytest.mark.parametrize("largest", [200, 4])
@pytest.mark.parametrize(("share", "most"), [(0.0, 0), (0.01, 1), (0.12, 3), (0.9, 22)])
def test_co_answers_are_those_of_a_plain_count(share, most, largest, monkeypatch):
    monkeypatch.setattr("mmrns.negatives.guard._MOST_ANSWERS", largest)
    triples = random_triples(ENTITIES, RELATIONS, torch.Generator().manual_seed(0), 90)
    co_answers = CoAnswers(AnswerIndex(triples, ENTITIES, RELATIONS), share)
    expected = plain_co_answers(triples, most, largest)
    entities = torch.arange(ENTITIES)
    pool = Pool.of(torch.arange(0, ENTITIES, 2), entities[:, None])
    found = co_answers.columns(entities, pool)
    for entity in range(ENTITIES):
        ids = {int(pool.candidates[c]) for c in found[entity].nonzero()[:, 0]}
        assert ids == {other for other in expected.get(entity, set()) if other % 2 == 0}


def test_a_graph_without_co_answers_guards_nothing():
    triples = torch.tensor([[0, 0, 1], [2, 1, 3]])
    co_answers = CoAnswers(AnswerIndex(triples, 4, 2), 0.5)
    assert not co_answers.columns(torch.arange(4), Pool.of(torch.arange(4), torch.arange(4)[:, None])).any()


def drawn_with(monkeypatch, **options):
    """A draw with a guard over the whole graph, and the log p that it was drawn from."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    triples = random_triples(ENTITIES, RELATIONS, generator, 50)
    features = random_features(ENTITIES, SHAPES, generator, 0.3)
    _, model, sampler = build(triples, ENTITIES, RELATIONS, features, exploration=0.5, num_negatives=6, **options)
    seen = []
    monkeypatch.setattr(
        sampler_module, "gumbel_top_k", lambda log_p, *rest: seen.append(log_p) or gumbel_top_k(log_p, *rest)
    )
    queries = Queries.of(triples[:12], TAIL)
    return sampler, model, queries, sampler.draw(queries, model, 1, generator, False), seen[0].detach()


gumbel_top_k = sampler_module.gumbel_top_k


def expected_marks(kind, sampler, model, queries, memory):
    """Which candidates a guard of a fifth should mark, straight from what it is said to look at."""
    if kind == "co-answers":
        return sampler.co_answers.columns(queries.answer, memory.pool) & ~memory.known
    if kind == "score":
        everyone = model.entities(torch.arange(ENTITIES))
        values = model.score_candidates(queries, everyone.expand(12, -1, -1))
    else:
        values = mean_similarity(memory.similarities, memory.pool)
    ranks = values.masked_fill(memory.known, -torch.inf).argsort(1, descending=True).argsort(1)
    return (ranks < 5) & ~memory.known


@pytest.mark.parametrize("weight", [0.0, 0.25])
@pytest.mark.parametrize("kind", KINDS)
def test_marked_candidates_are_drawn_as_rarely_as_the_weight_says(kind, weight, monkeypatch):
    sampler, _, _, _, free = drawn_with(monkeypatch)
    sampler, model, queries, negatives, log_p = drawn_with(
        monkeypatch, guard=kind, guard_share=0.2, guard_weight=weight
    )
    marked = expected_marks(kind, sampler, model, queries, negatives.memory)
    assert torch.equal(negatives.memory.guarded, marked) and marked.any()
    torch.testing.assert_close(log_p[~marked], free[~marked])
    torch.testing.assert_close(log_p[marked].exp(), weight * free[marked].exp())
    if weight == 0:
        assert not (marked.gather(1, negatives.ids) & negatives.valid).any()


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_in_l_con_a_marked_candidate_is_a_negative_as_far_as_the_weight_says(weight, monkeypatch):
    sampler, _, _, negatives, _ = drawn_with(
        monkeypatch, guard="similarity", guard_share=0.3, guard_weight=weight, contrastive_weight=1.0, pool_positives=0
    )
    memory = negatives.memory
    weights = torch.rand(12, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    total = 0.0
    for b in range(12):
        of_drawn = dict(zip(memory.drawn[b].tolist(), weights[b].tolist(), strict=True))
        terms = []
        for name, values in memory.similarities.to_candidates.items():
            has = memory.similarities.present[name]
            if not has[memory.pool.positives[b, 0]]:
                continue
            kinds = {True: [], False: []}
            for c in (c for c in range(ENTITIES) if has[c]):
                known = bool(memory.known[b, c])
                w = 1 / ENTITIES if known else of_drawn.get(c, 1 / ENTITIES)
                w *= weight if memory.guarded[b, c] else 1.0
                if w:
                    kinds[known].append((w, values[b, c]))
            if kinds[True] and kinds[False]:
                terms.append(reference.contrastive(kinds[True], kinds[False]).item())
        total += sum(terms) / max(len(terms), 1)
    memory = replace(memory, drawable=torch.ones_like(memory.drawable))
    assert contrast(memory, sampler.config, ENTITIES, weights).item() == pytest.approx(total / 12, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_with_a_guard_has_finite_gradients(kind, monkeypatch):
    sampler, _, _, negatives, _ = drawn_with(monkeypatch, guard=kind, guard_share=0.9, contrastive_weight=1.0)
    loss = negatives.vectors.square().sum() + sampler.loss(negatives, torch.full((12, 6), 1 / 6, dtype=torch.float64))
    gradients = torch.autograd.grad(loss, list(sampler.parameters()), allow_unused=True)
    assert all(value is None or value.isfinite().all() for value in gradients)
