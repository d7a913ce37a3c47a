"""The same scores, evaluated by PyKEEN: an independent implementation of filtered ranking and of the metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrns.evaluation import rank_triples, ranking_metrics
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex
from tests.evaluation.fixed_scores import FixedScores

pykeen_evaluation = pytest.importorskip("pykeen.evaluation", reason="PyKEEN is not installed (pip install pykeen)")
from pykeen.models import Model  # noqa: E402
from pykeen.triples import CoreTriplesFactory  # noqa: E402

ENTITIES, RELATIONS = 40, 3


class PyKEENScores(Model):
    """PyKEEN's interface over the same scores; tails and heads may be scored differently."""

    def __init__(self, scores, triples):
        factory = CoreTriplesFactory.create(triples, num_entities=ENTITIES, num_relations=RELATIONS)
        super().__init__(triples_factory=factory)
        self.register_buffer("scores", scores)
        self.empty = torch.nn.Parameter(torch.zeros(1))

    def score_t(self, hr_batch, **_):
        return self.scores[TAIL, hr_batch[:, 1], hr_batch[:, 0]]

    def score_h(self, rt_batch, **_):
        return self.scores[HEAD, rt_batch[:, 0], rt_batch[:, 1]]

    def score_hrt(self, hrt_batch, **_):
        raise NotImplementedError

    def score_r(self, ht_batch, **_):
        raise NotImplementedError

    def collect_regularization_term(self):
        return torch.zeros(())

    def _reset_parameters_(self):
        pass

    def _get_entity_len(self, *, mode):
        return ENTITIES


def as_kind(ranks, kind):
    """Ranks whose rank is the optimistic, the pessimistic, or the mean one ("realistic" in PyKEEN)."""
    if kind == "realistic":
        return ranks
    chosen = getattr(ranks, kind)
    return replace(ranks, optimistic=chosen, pessimistic=chosen)


@pytest.fixture(scope="module", params=[2, 7, 10**6], ids=["two levels", "seven levels", "hardly a tie"])
def both_sides(request):
    generator = np.random.default_rng(request.param)
    shape = (2, RELATIONS, ENTITIES, ENTITIES)
    scores = torch.from_numpy(generator.integers(0, request.param, shape).astype(np.float32))
    sides = [generator.integers(0, size, 700) for size in (ENTITIES, RELATIONS, ENTITIES)]
    triples = np.unique(np.stack(sides, axis=1), axis=0)
    generator.shuffle(triples)
    train, test = torch.from_numpy(triples[:400]), torch.from_numpy(triples[400:])

    known = AnswerIndex(torch.from_numpy(triples), ENTITIES, RELATIONS)
    ours = rank_triples(FixedScores(scores), test.numpy(), known, memory_mb=1)
    theirs = pykeen_evaluation.RankBasedEvaluator(filtered=True).evaluate(
        model=PyKEENScores(scores, train),
        mapped_triples=test,
        additional_filter_triples=[train],
        batch_size=64,
        use_tqdm=False,
    )
    return ours, theirs


def part(ranks, side):
    return {"both": None, "head": ranks.direction == HEAD, "tail": ranks.direction == TAIL}[side]


@pytest.mark.parametrize("kind", ["optimistic", "realistic", "pessimistic"])
@pytest.mark.parametrize("side", ["both", "head", "tail"])
@pytest.mark.parametrize(
    ("name", "pykeen_name"),
    [
        ("mrr", "inverse_harmonic_mean_rank"),
        ("mr", "arithmetic_mean_rank"),
        ("hits@1", "hits_at_1"),
        ("hits@3", "hits_at_3"),
        ("hits@10", "hits_at_10"),
        ("count", "count"),
    ],
)
def test_metric_equals_pykeens(both_sides, kind, side, name, pykeen_name):
    ours, theirs = both_sides
    found = ranking_metrics(as_kind(ours, kind), part(ours, side))[name]
    assert found == pytest.approx(theirs.get_metric(f"{side}.{kind}.{pykeen_name}"), abs=1e-6)


@pytest.mark.parametrize("side", ["both", "head", "tail"])
def test_amri_equals_pykeens_which_has_it_for_the_realistic_rank_only(both_sides, side):
    ours, theirs = both_sides
    expected = theirs.get_metric(f"{side}.realistic.adjusted_arithmetic_mean_rank_index")
    assert ranking_metrics(ours, part(ours, side))["amri"] == pytest.approx(expected, abs=1e-6)
