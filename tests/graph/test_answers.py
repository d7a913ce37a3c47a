"""AnswerIndex against a dictionary of sets."""

from collections import defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrns.graph.answers import HEAD, TAIL, AnswerIndex, Queries
from tests import ways

ENTITIES, RELATIONS = 6, 3
triples_lists = st.lists(
    st.tuples(st.integers(0, ENTITIES - 1), st.integers(0, RELATIONS - 1), st.integers(0, ENTITIES - 1)), max_size=40
)
directions = st.sampled_from([HEAD, TAIL])


@pytest.fixture(autouse=True, scope="module", params=["here", "torch", "three threads"])
def way(request):
    with pytest.MonkeyPatch.context() as patch:
        ways.take(request.param, patch)
        yield


def as_tensor(triples):
    return torch.tensor(triples, dtype=torch.int64).reshape(-1, 3)


def reference(triples):
    answers = defaultdict(set)
    for head, relation, tail in triples:
        answers[TAIL, relation, head].add(tail)
        answers[HEAD, relation, tail].add(head)
    return answers


def every_query(direction):
    """All queries of the little world, known or not; `answer` is not looked at."""
    pairs = torch.cartesian_prod(torch.arange(RELATIONS), torch.arange(ENTITIES))
    return Queries(pairs[:, 1], pairs[:, 0], torch.zeros(len(pairs), dtype=torch.int64), direction)


def expected_sets(triples, queries):
    answers = reference(triples)
    keys = zip(queries.relation.tolist(), queries.anchor.tolist(), strict=True)
    return [answers[queries.direction, relation, anchor] for relation, anchor in keys]


def test_queries_of_a_triple_ask_for_one_side_and_give_the_other():
    triples = torch.tensor([[4, 1, 5]])
    head, tail = Queries.of(triples, HEAD), Queries.of(triples, TAIL)
    assert (head.anchor.item(), head.relation.item(), head.answer.item(), head.direction) == (5, 1, 4, HEAD)
    assert (tail.anchor.item(), tail.relation.item(), tail.answer.item(), tail.direction) == (4, 1, 5, TAIL)


@given(triples_lists, directions)
def test_count_is_the_number_of_distinct_answers_and_zero_for_an_unknown_query(triples, direction):
    index, queries = AnswerIndex(as_tensor(triples), ENTITIES, RELATIONS), every_query(direction)
    assert index.count(index.rows(queries)).tolist() == [len(known) for known in expected_sets(triples, queries)]


@given(triples_lists, directions)
def test_rows_are_one_a_known_query_and_the_sentinel_for_the_others(triples, direction):
    index, queries = AnswerIndex(as_tensor(triples), ENTITIES, RELATIONS), every_query(direction)
    rows, sets = index.rows(queries).tolist(), expected_sets(triples, queries)
    known = [row for row, answers in zip(rows, sets, strict=True) if answers]
    assert len(set(known)) == len(known)
    assert all(row == len(index.query_keys) for row, answers in zip(rows, sets, strict=True) if not answers)


@given(triples_lists, directions)
def test_pairs_list_each_known_answer_once(triples, direction):
    index, queries = AnswerIndex(as_tensor(triples), ENTITIES, RELATIONS), every_query(direction)
    position, entity = index.pairs(index.rows(queries))
    listed = list(zip(position.tolist(), entity.tolist(), strict=True))
    sets = expected_sets(triples, queries)
    assert sorted(listed) == sorted((place, answer) for place, known in enumerate(sets) for answer in known)


@given(triples_lists, directions)
def test_contains_is_set_membership(triples, direction):
    index, queries = AnswerIndex(as_tensor(triples), ENTITIES, RELATIONS), every_query(direction)
    everyone = torch.arange(ENTITIES).expand(len(queries.anchor), -1)
    expected = [[entity in known for entity in range(ENTITIES)] for known in expected_sets(triples, queries)]
    assert index.contains(index.rows(queries), everyone).tolist() == expected


@given(triples_lists, directions)
def test_complement_enumerates_exactly_the_entities_that_are_no_answer(triples, direction):
    index, queries = AnswerIndex(as_tensor(triples), ENTITIES, RELATIONS), every_query(direction)
    rows = index.rows(queries)
    for row, known in zip(rows, expected_sets(triples, queries), strict=True):
        ranks = torch.arange(ENTITIES - len(known))
        assert index.complement(row[None], ranks[None])[0].tolist() == sorted(set(range(ENTITIES)) - known)


@given(triples_lists.filter(bool), st.integers(1, 8), st.integers(0, 2**31))
def test_window_gives_distinct_known_answers_and_all_of_them_when_there_are_few(triples, number, seed):
    index = AnswerIndex(as_tensor(triples), ENTITIES, RELATIONS)
    queries = Queries.of(as_tensor(triples), TAIL)
    found, real = index.window(index.rows(queries), number, torch.Generator().manual_seed(seed))
    assert found.shape == real.shape == (len(triples), number)
    for entities, which, known in zip(found, real, expected_sets(triples, queries), strict=True):
        drawn = entities[which].tolist()
        assert len(set(drawn)) == len(drawn) == min(number, len(known))
        assert set(drawn) <= known


def test_window_draws_every_answer_equally_often():
    tails = 5
    index = AnswerIndex(torch.tensor([[0, 0, tail] for tail in range(tails)]), ENTITIES, 1)
    rows = index.rows(Queries.of(torch.zeros(20_000, 3, dtype=torch.int64), TAIL))
    found, real = index.window(rows, 2, torch.Generator().manual_seed(0))
    assert real.all()
    shares = torch.bincount(found.flatten(), minlength=tails) / found.numel()
    # Five standard deviations of a share of 1/5 in 20,000 independent windows.
    assert (shares - 1 / tails).abs().max() < 5 * (0.2 * 0.8 / 20_000) ** 0.5


@pytest.mark.parametrize("direction", [HEAD, TAIL])
def test_an_index_of_no_triple_knows_no_answer(direction):
    index = AnswerIndex(as_tensor([]), ENTITIES, RELATIONS)
    rows = index.rows(every_query(direction))
    everyone = torch.arange(ENTITIES).expand(len(rows), -1)
    assert not index.count(rows).any()
    assert not index.contains(rows, everyone).any()
    assert [len(part) for part in index.pairs(rows)] == [0, 0]
    assert torch.equal(index.complement(rows, everyone), everyone)


def test_ids_of_a_large_graph_do_not_overflow():
    entities, relations = 10_000_000, 2_000
    last = torch.tensor([[entities - 1, relations - 1, entities - 2]])
    index = AnswerIndex(last, entities, relations)
    rows = index.rows(Queries.of(last, TAIL))
    assert index.contains(rows, torch.tensor([[entities - 2, entities - 1]])).tolist() == [[True, False]]
    assert index.complement(rows, torch.tensor([[entities - 3, entities - 2]])).tolist() == [
        [entities - 3, entities - 1]
    ]


@pytest.mark.parametrize("direction", [HEAD, TAIL])
def test_look_ups_in_a_graph_with_hubs_agree_with_sets(direction):
    numbers = torch.Generator().manual_seed(0)
    entities, triples = 200, (torch.rand(4_000, 3, generator=numbers) ** 3 * torch.tensor([200, 2, 200])).long()
    index = AnswerIndex(triples, entities, 2)
    queries = Queries.of(triples[torch.randperm(len(triples), generator=numbers)[:50]], direction)
    rows = index.rows(queries)
    sets = expected_sets(triples.tolist(), queries)
    assert index.count(rows).max() > 100
    everyone = torch.arange(entities).repeat(50, 1)
    assert index.contains(rows, everyone).tolist() == [[e in known for e in range(entities)] for known in sets]
    ranks = torch.stack([torch.randint(entities - len(known), (9,), generator=numbers) for known in sets])
    free = [sorted(set(range(entities)) - known) for known in sets]
    expected = [[ids[rank] for rank in of_row] for ids, of_row in zip(free, ranks.tolist(), strict=True)]
    assert index.complement(rows, ranks).tolist() == expected


def test_to_keeps_every_answer():
    index = AnswerIndex(torch.tensor([[0, 0, 1], [0, 0, 2]]), ENTITIES, RELATIONS)
    moved = index.to(torch.device("cpu"))
    queries = Queries.of(torch.tensor([[0, 0, 1]]), TAIL)
    assert moved.num_entities == ENTITIES
    assert moved.pairs(moved.rows(queries))[1].tolist() == [1, 2]
