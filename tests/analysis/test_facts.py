"""The graph as a judge: shared facts, distances, the hierarchy and types, against plain loops."""

from collections import deque

import numpy as np
import pytest

from mmrns.analysis.facts import LEAST_OF_TYPE, Facts
from mmrns.errors import UserError
from mmrns.graph import Vocabulary
from tests.analysis.planted import LEAVES, TREE, planted


@pytest.fixture(scope="module")
def facts():
    return Facts(planted())


def facts_of(dataset, entity, typed=True):
    found = {("type", dataset.records[dataset.entities.ids[entity]]["type"])} if typed else set()
    for split in ("train", "valid", "test"):
        for head, relation, tail in dataset.split(split).tolist():
            found |= {("to", relation, tail)} if head == entity else set()
            found |= {("from", relation, head)} if tail == entity else set()
    return found


def test_overlap_is_jaccards_over_facts_of_all_splits_and_types(facts):
    rows = np.arange(TREE + LEAVES)
    sets = [facts_of(facts.dataset, row) for row in rows]
    expected = [[len(a & b) / len(a | b) for b in sets] for a in sets]
    np.testing.assert_allclose(facts.overlaps(rows, rows), expected)
    first, second = np.array([3, 3, 40]), np.array([4, 3, 41])
    np.testing.assert_allclose(
        facts.overlap(first, second), [expected[a][b] for a, b in zip(first, second, strict=True)]
    )


def test_without_types_facts_are_triples_alone():
    bare = Facts(planted(types=False))
    siblings = bare.overlap(np.array([15]), np.array([16]))
    assert siblings[0] == pytest.approx(1 / 3)  # one parent in common, a capital each


def breadth_first(triples, start, relation=None):
    near = {}
    for head, kind, tail in triples:
        if relation is None or kind == relation:
            near.setdefault(head, set()).add(tail)
            near.setdefault(tail, set()).add(head)
    distance, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for there in near.get(here, ()):
            if there not in distance:
                distance[there] = distance[here] + 1
                queue.append(there)
    return distance


@pytest.mark.parametrize("relation", [None, 1])
def test_distances_are_those_of_a_breadth_first_search(facts, relation, monkeypatch):
    monkeypatch.setattr("mmrns.analysis.facts._SOURCES_AT_ONCE", 3)
    sources, targets = np.array([0, 20, 46, 3, 7, 15, 30]), np.arange(0, TREE + LEAVES, 2)
    found = facts.distances(sources, targets, relation)
    for row, source in zip(found, sources.tolist(), strict=True):
        expected = breadth_first(facts.triples.tolist(), source, relation)
        assert row.tolist() == [expected.get(target, np.inf) for target in targets.tolist()]


def test_the_hierarchy_is_found_by_its_name_or_given(facts):
    assert facts.taxonomy("") == 1
    assert facts.taxonomy("has_capital") == 0
    with pytest.raises(UserError, match="--taxonomy is_an: unknown relation; did you mean 'is_a'"):
        facts.taxonomy("is_an")


@pytest.mark.parametrize("name", ["_hypernym", "subclass_of", "subClassOf", "instance_of", "isA", "P279"])
def test_usual_names_of_a_hierarchy_are_known(name):
    dataset = planted()
    named = Vocabulary("relation", ["capital", name])
    assert Facts(type(dataset)(**(vars(dataset) | {"relations": named}))).taxonomy("") == 1
    plain = Vocabulary("relation", ["capital", f"{name}_not"])
    assert Facts(type(dataset)(**(vars(dataset) | {"relations": plain}))).taxonomy("") is None


def test_types_with_too_few_members_are_left_out(facts):
    rows = np.concatenate([np.arange(10), TREE + np.arange(LEAST_OF_TYPE - 1)])
    places, types = facts.typed(rows)
    assert (places.tolist(), set(types)) == (list(range(10)), {"node"})
