"""Alignment and uniformity against closed forms and the paper's own code, and their sample in training."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmrns import load, load_dataset
from mmrns.evaluation.geometry import (
    EmbeddingCourse,
    alignment,
    positive_pairs,
    uniformity,
    uniformity_of_pairs,
)
from mmrns.graph.answers import AnswerIndex
from mmrns.scoring import build_model
from mmrns.training.history import read_history


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_alignment_of_equal_opposite_and_orthogonal_pairs_at_any_length():
    x = gaussian(5, 3)
    assert float(alignment(x, 7 * x)) == pytest.approx(0, abs=1e-12)
    assert float(alignment(x, -x)) == pytest.approx(4)
    assert float(alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))) == pytest.approx(2)


def test_uniformity_of_one_point_of_two_opposite_ones_and_of_an_orthogonal_frame():
    assert float(uniformity(torch.ones(4, 3))) == pytest.approx(0, abs=1e-6)
    assert float(uniformity(torch.tensor([[2.0, 0.0], [-1.0, 0.0]]))) == pytest.approx(-8)
    assert float(uniformity(5 * torch.eye(6, dtype=torch.float64))) == pytest.approx(-4)  # every distance is sqrt(2)


def test_uniformity_nears_the_integral_over_the_circle():
    # Over the circle E exp(-2 |x-y|^2) = exp(-4) I_0(4), |x-y|^2 = 2 - 2 cos.
    angle = torch.arange(720, dtype=torch.float64) * 2 * math.pi / 720
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    expected = -4 + math.log(float(torch.special.i0(torch.tensor(4.0, dtype=torch.float64))))
    assert float(uniformity(circle)) == pytest.approx(expected, abs=0.02)


def test_both_equal_the_code_of_wang_and_isola():
    x, y = gaussian(40, 8), gaussian(40, 8, seed=1)
    ux, uy = F.normalize(x, dim=1), F.normalize(y, dim=1)
    assert float(alignment(x, y)) == pytest.approx(float((ux - uy).norm(p=2, dim=1).pow(2).mean()))
    assert float(uniformity(x)) == pytest.approx(float(torch.pdist(ux, p=2).pow(2).mul(-2).exp().mean().log()))


def test_uniformity_of_all_pairs_is_that_of_the_set():
    x = gaussian(9, 4)
    i, j = torch.triu_indices(9, 9, offset=1)
    assert float(uniformity_of_pairs(x[i], x[j])) == pytest.approx(float(uniformity(x)))


def test_positive_pairs_are_distinct_answers_of_one_query_and_queries_count_evenly():
    # (0, r0, ?) has 3 answers, (?, r1, 5) has 2; every other question has one.
    triples = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 0, 3], [4, 1, 5], [6, 1, 5]])
    answers = AnswerIndex(triples, 7, 2)
    first, second, relation = positive_pairs(answers, 6000, torch.Generator().manual_seed(0))
    pairs = list(zip(first.tolist(), second.tolist(), relation.tolist(), strict=True))
    allowed = {(a, b, 0) for a in (1, 2, 3) for b in (1, 2, 3) if a != b} | {(4, 6, 1), (6, 4, 1)}
    assert set(pairs) == allowed
    shares = {pair: pairs.count(pair) / len(pairs) for pair in allowed}
    assert all(shares[pair] == pytest.approx(1 / 12 if pair[2] == 0 else 1 / 4, abs=0.02) for pair in allowed)


def test_a_graph_without_two_answers_has_no_pairs():
    answers = AnswerIndex(torch.tensor([[0, 0, 1], [1, 0, 2]]), 3, 1)
    assert [len(part) for part in positive_pairs(answers, 10, torch.Generator())] == [0, 0, 0]


def test_training_records_both_at_each_validation_and_the_last_is_that_of_the_weights(finished_run, tiny_graph):
    lines = [line for line in read_history(finished_run / "history.jsonl") if "embedding/alignment" in line]
    assert [line["step"] for line in lines] == [10, 20, 30]
    trained, dataset = load(finished_run), load_dataset(tiny_graph)
    (line,) = [line for line in lines if line["step"] == trained.step]
    from mmrns.training.batches import derived_seed

    again = EmbeddingCourse(dataset.answers("train"), derived_seed(trained.config.seed, 3))(trained.model)
    assert {f"embedding/{name}": value for name, value in again.items()} == pytest.approx(
        {name: value for name, value in line.items() if name != "step"}, rel=1e-5
    )
    # 60 entities are fewer than the sample, so this is the whole table's.
    assert again["uniformity"] == pytest.approx(
        float(uniformity(trained.model.entities.everything().detach())), rel=1e-5
    )


def test_the_course_sees_entities_as_they_are_ranked(tiny_graph):
    dataset = load_dataset(tiny_graph)
    course = EmbeddingCourse(dataset.answers("train"), 5)
    model = build_model("distmult", len(dataset.entities), len(dataset.relations), 4, 1.0, entity_dropout=0.5)
    assert course(model) == course(model)
    assert model.training
    assert course(model) == course(model.eval())


def test_the_course_leaves_every_other_draw_alone(tiny_graph):
    torch.manual_seed(3)
    before = torch.get_rng_state().numpy().copy()
    EmbeddingCourse(load_dataset(tiny_graph).answers("train"), 5)
    np.testing.assert_array_equal(torch.get_rng_state().numpy(), before)
