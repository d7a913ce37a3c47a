"""rank_triples against a plain loop with sets."""

import contextlib
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrns.errors import UserError
from mmrns.evaluation import rank_triples
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex
from mmrns.processes import Processes
from tests.evaluation.fixed_scores import FixedScores

ENTITIES, RELATIONS = 5, 2
triples_lists = st.lists(
    st.tuples(st.integers(0, ENTITIES - 1), st.integers(0, RELATIONS - 1), st.integers(0, ENTITIES - 1)),
    min_size=1,
    max_size=30,
)


def index(*parts):
    triples = torch.tensor([triple for part in parts for triple in part], dtype=torch.int64).reshape(-1, 3)
    return AnswerIndex(triples, ENTITIES, RELATIONS)


def random_scores(seed, levels, nan_share=0.0):
    """Few levels make many ties."""
    generator = np.random.default_rng(seed)
    shape = (2, RELATIONS, ENTITIES, ENTITIES)
    scores = generator.integers(0, levels, shape).astype(np.float32)
    scores[generator.random(shape) < nan_share] = np.nan
    return torch.from_numpy(scores)


def naive(scores, triples, known):
    """(optimistic, pessimistic, candidates) of each query, head queries first."""
    answers = defaultdict(set)
    for head, relation, tail in known:
        answers[TAIL, relation, head].add(tail)
        answers[HEAD, relation, tail].add(head)
    result = []
    for direction in (HEAD, TAIL):
        for head, relation, tail in triples:
            anchor, answer = (tail, head) if direction == HEAD else (head, tail)
            others = set(range(ENTITIES)) - answers[direction, relation, anchor] - {answer}
            row = scores[direction, relation, anchor].tolist()
            true = row[answer]
            if math.isnan(true):
                result.append((len(others) + 1, len(others) + 1, len(others) + 1))
                continue
            better = sum(row[other] > true for other in others)
            tied = sum(row[other] == true for other in others)
            result.append((better + 1, better + tied + 1, len(others) + 1))
    return result


def ranked(scores, triples, known, memory_mb=64, allow_nan=False):
    ranks = rank_triples(FixedScores(scores), np.array(triples), index(known), memory_mb, allow_nan)
    return list(zip(ranks.optimistic.tolist(), ranks.pessimistic.tolist(), ranks.candidates.tolist(), strict=True))


@given(triples_lists, triples_lists, st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([0, 64]))
def test_ranks_equal_a_plain_loop_with_ties_and_repeated_triples(triples, known, seed, levels, memory_mb):
    scores, known = random_scores(seed, levels), [*known, *triples]
    assert ranked(scores, triples, known, memory_mb) == naive(scores, triples, known)


@given(triples_lists, triples_lists, st.integers(0, 2**31))
def test_answers_that_are_not_known_are_ranked_all_the_same(triples, known, seed):
    scores = random_scores(seed, 3)
    assert ranked(scores, triples, known) == naive(scores, triples, known)
    assert ranked(scores, triples, []) == naive(scores, triples, [])


@given(triples_lists, triples_lists, st.integers(0, 2**31), st.sampled_from([0, 64]))
def test_nan_ranks_last_where_it_is_allowed(triples, known, seed, memory_mb):
    scores = random_scores(seed, 3, nan_share=0.3)
    assert ranked(scores, triples, known, memory_mb, allow_nan=True) == naive(scores, triples, known)


@pytest.mark.parametrize("place", [(HEAD, 0, 2, 4), (TAIL, 0, 1, 2)], ids=["a candidate", "the true answer"])
def test_nan_fails_with_a_mend_where_it_is_not_allowed(place):
    scores = random_scores(0, 3)
    scores[place] = math.nan
    with pytest.raises(UserError, match="scores are NaN: the training diverged; lower --learning-rate"):
        ranked(scores, [(1, 0, 2)], [(1, 0, 2)])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [0.0, math.nan])
def test_the_model_s_mode_is_put_back_whatever_happens(training, value):
    model = FixedScores(torch.full((2, RELATIONS, ENTITIES, ENTITIES), value)).train(training)
    with contextlib.suppress(UserError):
        rank_triples(model, np.array([[0, 0, 1]]), index([[0, 0, 1]]), 64)
    assert model.training is training
    assert model.modes == {False}


def test_infinite_scores_are_ordinary_scores():
    scores = random_scores(0, 3)
    scores[TAIL, 0, 1] = torch.tensor([math.inf, -math.inf, math.inf, 0, -math.inf])
    known = [(1, 0, 2)]
    assert ranked(scores, known, known)[1] == (1, 2, 5)
    assert ranked(scores, [(1, 0, 4)], [(1, 0, 4)])[1] == (4, 5, 5)


def test_ranks_are_those_of_each_triple_in_the_order_given():
    triples = [(4, 1, 0), (0, 0, 3), (4, 0, 1), (0, 0, 2)]
    scores = random_scores(3, 100)
    together, apart = ranked(scores, triples, triples), [ranked(scores, [one], triples) for one in triples]
    assert together == [one[direction] for direction in (HEAD, TAIL) for one in apart]
    ranks = rank_triples(FixedScores(scores), np.array(triples), index(triples), 64)
    assert ranks.triples.tolist() == [list(triple) for triple in triples] * 2
    assert ranks.direction.tolist() == [HEAD] * 4 + [TAIL] * 4
    assert ranks.answer.tolist() == [4, 0, 4, 0, 0, 3, 1, 2]


def test_the_rank_of_ties_is_their_mean():
    scores = torch.zeros(2, RELATIONS, ENTITIES, ENTITIES)
    ranks = rank_triples(FixedScores(scores), np.array([[0, 0, 1]]), index([(0, 0, 1)]), 64)
    assert ranks.optimistic.tolist() == [1, 1]
    assert ranks.pessimistic.tolist() == [5, 5]
    assert ranks.rank.tolist() == [3, 3]


def test_a_query_of_several_triples_is_scored_once_and_memory_bounds_the_chunk():
    triples = [(0, 0, tail) for tail in range(ENTITIES)]
    model = FixedScores(random_scores(0, 3))
    rank_triples(model, np.array(triples), index(triples), 64)
    assert model.batch_sizes == [5, 1]  # five head queries, one tail query
    model.batch_sizes.clear()
    rank_triples(model, np.array(triples), index(triples), 0)
    assert model.batch_sizes == [1] * 10


@pytest.mark.parametrize("training", [True, False])
def test_scoring_runs_in_evaluation_mode_and_the_mode_is_put_back(training):
    model = FixedScores(random_scores(0, 3)).train(training)
    rank_triples(model, np.array([[0, 0, 1]]), index([(0, 0, 1)]), 64)
    assert model.modes == {False}
    assert model.training is training


class Apart(Processes):
    """One of several processes, which does not wait for the others: their parts stay 0."""

    def total(self, counts):
        return counts


@given(triples_lists, st.integers(1, 5), st.integers(0, 2**31), st.sampled_from([0, 64]))
def test_the_shares_of_several_processes_add_up_to_the_ranks_of_one(triples, number, seed, memory_mb):
    model, known = FixedScores(random_scores(seed, 3)), index(triples)
    whole = rank_triples(model, np.array(triples), known, memory_mb)
    scored = [len(model.batch_sizes)]
    for name in ("optimistic", "pessimistic", "candidates"):
        parts = []
        for process in range(number):
            model.batch_sizes.clear()
            parts.append(
                getattr(rank_triples(model, np.array(triples), known, memory_mb, together=Apart(number, process)), name)
            )
            scored.append(len(model.batch_sizes))
        assert (np.count_nonzero(parts, axis=0) == 1).all()  # each query has one process
        assert sum(parts).tolist() == getattr(whole, name).tolist()
    shares = scored[1 : number + 1]
    assert sum(shares) == scored[0] and max(shares) - min(shares) <= 1


def test_nan_in_one_process_s_share_fails_in_all():
    class Second(Processes):
        def total(self, counts):
            counts[3, HEAD, 0] += 1  # the first one's head query
            return counts

    model = FixedScores(random_scores(0, 3))
    with pytest.raises(UserError, match="scores are NaN"):
        rank_triples(model, np.array([(1, 0, 2)]), index([(1, 0, 2)]), 64, together=Second(2, 1))
