"""The yardsticks do the same work as we do: equal similarities, losses and ranks."""

import numpy as np
import pytest
import torch

import mmrns.negatives.mmrns
from mmrns.benchmark.evaluation import NaiveRanking, OurRanking, naive_ranks
from mmrns.benchmark.naive import NaiveMMRNS, NaiveStep
from mmrns.benchmark.step import OurStep, Stepper
from mmrns.config import Config
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.negatives.pool import Pool
from tests.tiny import ENTITIES, write_tiny_graph

SHAPES = {"image": (3, 5), "text": (2, 4)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_graph(tmp_path_factory.mktemp("graph"))


def config_of(folder, **options):
    given = {
        "dataset": str(folder), "model": "rotate", "sampler": "mmrns", "dim": 6, "attention_width": 5,
        "structure_hidden": 7, "device": "cpu", "batch_size": 8, "pool_size": 20, "num_negatives": 4,
        "exploration": 0.7, "contrastive_weight": 0.3, "pool_positives": 0, "validation": "published",
    }  # fmt: skip
    return Config(**(given | options))


@pytest.mark.parametrize("step", [3, 4])
def test_similarities_distribution_and_loss_are_ours(folder, step, monkeypatch):
    stepper = Stepper(config_of(folder), SHAPES)
    triples = stepper.triples[5:9]
    queries = Queries.of(triples, TAIL if step % 2 else HEAD)
    answers = stepper.dataset.answers("train")
    known = answers.contains(answers.rows(queries), torch.arange(ENTITIES).expand(4, -1))
    # Without known answers in it, and with everything drawn, a pool leaves nothing to chance.
    pool = torch.arange(ENTITIES)[~known.any(0)][:20]
    stepper = Stepper(config_of(folder, num_negatives=len(pool), pool_size=len(pool)), SHAPES)
    naive = NaiveMMRNS(stepper.objective, stepper.triples.tolist())

    sampler, model = stepper.objective.sampler, stepper.objective.model
    laid_out = Pool.of(pool, queries.answer[:, None])
    ours = sampler.similarities(queries, model, laid_out, model.entities(laid_out.rows))
    theirs = naive.similarities(queries.answer, queries.relation, pool)
    assert set(theirs) == set(ours.to_candidates) == {"image", "text", "structure"}
    for name, value in theirs.items():
        torch.testing.assert_close(value, ours.to_candidates[name], rtol=1e-4, atol=1e-5)
    nobody = torch.zeros(4, len(pool), dtype=torch.bool)
    p = sampler.distribution(ours, laid_out, nobody, None, step)[0]
    torch.testing.assert_close(naive.distribution(theirs, step), p, rtol=1e-4, atol=1e-6)

    monkeypatch.setattr(mmrns.negatives.mmrns, "draw_distinct", lambda total, number, generator: pool)
    loss = stepper.objective(triples, step, torch.Generator().manual_seed(0), False).loss
    torch.testing.assert_close(naive.loss(triples, step, pool), loss, rtol=1e-4, atol=1e-5)


def test_known_answers_are_masked_and_never_drawn(folder):
    stepper = Stepper(config_of(folder, num_negatives=12), SHAPES)
    naive = NaiveMMRNS(stepper.objective, stepper.triples.tolist())
    queries = Queries.of(stepper.triples[:40], HEAD)
    pool = torch.arange(ENTITIES)
    mask = naive.mask(queries.anchor, queries.relation, pool, HEAD)
    answers = stepper.dataset.answers("train")
    assert torch.equal(mask, answers.contains(answers.rows(queries), pool.expand(40, -1)))
    assert mask.sum() >= 40
    p = torch.full(mask.shape, 1 / ENTITIES)
    vectors, columns = naive.draw(p, mask, torch.eye(ENTITIES))
    assert not mask.gather(1, columns).any()
    assert all(len(set(row)) == 12 for row in columns.tolist())
    torch.testing.assert_close(vectors.argmax(2), columns)


def test_a_naive_step_changes_the_same_parameters_as_ours(folder, monkeypatch):
    config = config_of(folder, batch_size=10)
    monkeypatch.setattr("mmrns.benchmark.naive._PAIRS", 80)
    assert NaiveStep(config, SHAPES).rows_at_once == 4
    assert NaiveStep(config, SHAPES).work == OurStep(config, SHAPES).work == 10
    stepper = Stepper(config, SHAPES)
    before = {name: value.clone() for name, value in stepper.objective.state_dict().items()}
    stepper.step()
    ours = {name for name, value in stepper.objective.state_dict().items() if not torch.equal(value, before[name])}
    run = NaiveStep(config, SHAPES).prepare()
    objective = next(cell.cell_contents for cell in run.__closure__ if isinstance(cell.cell_contents, NaiveMMRNS))
    before = {name: value.clone() for name, value in objective.objective.state_dict().items()}
    run()
    after = objective.objective.state_dict()
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == ours
    assert all(torch.isfinite(value).all() for value in after.values())


@pytest.mark.parametrize("model", ["rotate", "pairre", "transe", "complex"])
def test_naive_ranks_are_ours(folder, model):
    side = OurRanking(config_of(folder, model=model, sampler="uniform"), 12)
    dataset, built, triples = side.load()
    known = {}
    for head, relation, tail in np.concatenate([dataset.train, dataset.valid, dataset.test]).tolist():
        known.setdefault((TAIL, head, relation), set()).add(tail)
        known.setdefault((HEAD, tail, relation), set()).add(head)
    assert side.work == 24
    np.testing.assert_array_equal(naive_ranks(built, triples, known), side.ranks())
    assert set(side.prepare()()) == {"scores", "ranks"}
    assert NaiveRanking(side.config, 12).prepare()() == {}
