"""The uniform sampler: never a known answer, and every other entity equally often."""

import pytest
import torch
from scipy.stats import chisquare

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex, Queries
from mmrns.negatives.base import SamplerContext, build_sampler

ENTITIES = 12


@pytest.fixture
def triples():
    """Under relation 0, entity 0 has answers 1, 2, 5 and 11; under relation 1 everything answers it."""
    pairs = [(0, 0, tail) for tail in (1, 2, 5, 11)] + [(0, 1, tail) for tail in range(ENTITIES)] + [(3, 0, 4)]
    return torch.tensor(pairs)


def sampler(triples, **options):
    config = Config(sampler="uniform", num_negatives=options.pop("num_negatives", 11), **options)
    return build_sampler(config, SamplerContext(AnswerIndex(triples, ENTITIES, 2), None, 4, 4))


def draw(triples, rows, direction, seed=0, **options):
    queries = Queries.of(triples[rows], direction)
    generator = torch.Generator().manual_seed(seed)
    return sampler(triples, **options).draw(queries, None, 1, generator, False)


def test_draws_are_exactly_uniform_over_what_train_does_not_list(triples):
    negatives = draw(triples, [0] * 4000, TAIL)
    assert negatives.ids.shape == (4000, 11)
    counts = torch.bincount(negatives.ids.flatten(), minlength=ENTITIES)
    known = [1, 2, 5, 11]
    assert counts[known].tolist() == [0] * 4
    rest = [entity for entity in range(ENTITIES) if entity not in known]
    assert chisquare(counts[rest].numpy()).pvalue > 1e-3
    assert negatives.valid.all()
    assert negatives.vectors is None


def test_both_directions_leave_out_their_own_answers(triples):
    # (?, relation 0, 4) has one answer, 3.
    counts = torch.bincount(draw(triples, [16] * 2000, HEAD).ids.flatten(), minlength=ENTITIES)
    assert counts[3] == 0
    rest = [entity for entity in range(ENTITIES) if entity != 3]
    assert chisquare(counts[rest].numpy()).pvalue > 1e-3


def test_rows_and_places_are_independent(triples):
    ids = draw(triples, [16] * 20_000, TAIL, num_negatives=2).ids
    both = torch.bincount(ids[:, 0] * ENTITIES + ids[:, 1], minlength=ENTITIES**2).view(ENTITIES, ENTITIES)
    rest = [entity for entity in range(ENTITIES) if entity != 4]
    assert chisquare(both[rest][:, rest].flatten().numpy()).pvalue > 1e-3


def test_a_query_that_everything_answers_has_no_valid_negative(triples):
    negatives = draw(triples, [4, 0, 15], TAIL)
    assert negatives.valid.any(1).tolist() == [False, True, False]
    assert negatives.valid.all(1).tolist() == [False, True, False]
    assert negatives.ids.min() >= 0 and negatives.ids.max() < ENTITIES


def test_the_generator_alone_decides(triples):
    first = draw(triples, [0, 16], TAIL, seed=1).ids
    torch.rand(5)
    assert torch.equal(draw(triples, [0, 16], TAIL, seed=1).ids, first)
    assert not torch.equal(draw(triples, [0, 16], TAIL, seed=2).ids, first)


@pytest.mark.parametrize("number", [ENTITIES, 500])
def test_more_negatives_than_entities_are_refused(triples, number):
    with pytest.raises(
        UserError, match=f"^--num-negatives {number}: the graph has 12 entities; give --num-negatives 11 or fewer$"
    ):
        sampler(triples, num_negatives=number)


def test_shared_draws_are_the_same_for_neighbours_and_leave_out_the_known_answers_of_each(triples):
    rows = [0, 16, 4, 0, 16, 15, 16]
    negatives = draw(triples, rows, TAIL, num_negatives=9, negatives_shared=3)
    ids, valid = negatives.ids, negatives.valid
    assert ids.shape == valid.shape == (7, 9)
    for group in (ids[:3], ids[3:6], ids[6:]):
        assert (group == group[0]).all()
    assert not torch.equal(ids[0], ids[3])
    known = {0: {1, 2, 5, 11}, 16: {4}, 4: set(range(ENTITIES)), 15: set(range(ENTITIES))}
    assert valid.tolist() == [
        [entity not in known[row] for entity in drawn] for row, drawn in zip(rows, ids.tolist(), strict=True)
    ]


def test_shared_draws_are_uniform_over_all_entities(triples):
    ids = draw(triples, [16] * 60_000, TAIL, num_negatives=2, negatives_shared=4).ids[::4]
    both = torch.bincount(ids[:, 0] * ENTITIES + ids[:, 1], minlength=ENTITIES**2)
    assert chisquare(both.numpy()).pvalue > 1e-3
