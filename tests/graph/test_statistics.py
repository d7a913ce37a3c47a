from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrns.errors import UserError
from mmrns.graph.answers import AnswerIndex
from mmrns.graph.findings import Facts
from mmrns.graph.statistics import CATEGORIES, answers_per_query, relation_categories
from mmrns.graph.synthetic import SyntheticGraph

RELATIONS = 3
triples_lists = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, RELATIONS - 1), st.integers(0, 5)), min_size=1, max_size=40
)


def mean_sizes(sets):
    return sum(map(len, sets)) / len(sets) if sets else 0


def naive(triples):
    """Per relation: mean number of heads a tail, of tails a head."""
    heads, tails = defaultdict(lambda: defaultdict(set)), defaultdict(lambda: defaultdict(set))
    for head, relation, tail in triples:
        heads[relation][tail].add(head)
        tails[relation][head].add(tail)
    return [(mean_sizes(heads[r].values()), mean_sizes(tails[r].values())) for r in range(RELATIONS)]


@given(triples_lists)
def test_answers_per_query_equals_a_plain_count(triples):
    heads, tails = answers_per_query(np.array(triples), RELATIONS)
    assert np.stack([heads, tails], axis=1) == pytest.approx(np.array(naive(triples)))


@given(triples_lists)
def test_categories_follow_from_the_plain_count(triples):
    expected = [f"{'N' if heads >= 1.5 else '1'}-{'N' if tails >= 1.5 else '1'}" for heads, tails in naive(triples)]
    assert [CATEGORIES[number] for number in relation_categories(np.array(triples), RELATIONS)] == expected


@pytest.mark.parametrize(
    ("triples", "category"),
    [
        ([(0, 0, 1), (2, 0, 3)], "1-1"),
        ([(0, 0, 1), (0, 0, 2)], "1-N"),
        ([(1, 0, 0), (2, 0, 0)], "N-1"),
        ([(0, 0, 2), (0, 0, 3), (1, 0, 2), (1, 0, 3)], "N-N"),
        ([(0, 0, 1), (0, 0, 1)], "1-1"),
        ([(0, 0, 1), (0, 0, 2), (3, 0, 4)], "1-N"),  # exactly 1.5 tails a head
    ],
)
def test_a_relation_is_named_by_the_side_with_several_answers(triples, category):
    assert CATEGORIES[relation_categories(np.array(triples), 1)[0]] == category


@pytest.mark.parametrize("made", ["index", "categories", "graph", "facts"])
def test_a_graph_too_large_for_its_keys_is_one_line(made):
    entities, relations = 2**31, 1
    triples = np.array([[0, 0, entities - 1]])
    with pytest.raises(UserError, match=r"2,147,483,648 entities and .* relations: a graph too large for its keys"):
        if made == "index":
            AnswerIndex(torch.from_numpy(triples), entities, relations)
        elif made == "categories":
            relation_categories(triples, relations)
        elif made == "graph":
            SyntheticGraph(entities, 2 * entities, relations + 1)
        else:
            Facts(SimpleNamespace(entities=range(entities), relations=range(relations)))


def test_the_largest_graph_has_keys():
    entities, triples = 2**31 - 1, np.array([[0, 0, 2**31 - 2], [2**31 - 2, 0, 2**31 - 2]])
    index = AnswerIndex(torch.from_numpy(triples), entities, 1)
    assert index.queries().tolist() == [[2**31 - 2, 0, 0], [0, 0, 1], [2**31 - 2, 0, 1]]
    assert index.answers.tolist() == [0, 2**31 - 2, 2**31 - 2, 2**31 - 2]
    assert answers_per_query(triples, 1)[0].tolist() == [2.0]
