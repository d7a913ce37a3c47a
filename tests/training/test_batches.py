"""The order of train triples: every triple once an epoch, a pure function of seed and step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrns.config import Config
from mmrns.training.batches import Batches, derived_seed, on_device


@given(triples=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 5))
def test_every_triple_comes_exactly_once_an_epoch_across_batch_boundaries(triples, size, seed):
    batches = Batches(triples, size, seed)
    epochs = 3
    steps = -(-epochs * triples // size)
    rows = torch.cat([batches.rows(step) for step in range(1, steps + 1)])
    assert len(rows) == steps * size
    for epoch in range(epochs):
        assert sorted(rows[epoch * triples : (epoch + 1) * triples].tolist()) == list(range(triples))


@given(triples=st.integers(1, 40), step=st.integers(1, 30), shares=st.integers(1, 4), per_share=st.integers(1, 8))
def test_shares_partition_the_batch(triples, step, shares, per_share):
    size = shares * per_share
    parts = [Batches(triples, size, 0).rows(step, share, shares) for share in range(shares)]
    assert [len(part) for part in parts] == [per_share] * shares
    whole = Batches(triples, size, 0).rows(step)
    assert torch.equal(torch.stack(parts, dim=1).flatten(), whole)


@pytest.mark.parametrize("size", [7, 60, 150])
def test_a_batch_depends_on_seed_and_step_alone(size):
    in_order = Batches(50, size, 3)
    wanted = {step: in_order.rows(step) for step in range(1, 20)}
    torch.manual_seed(99)
    jumping = Batches(50, size, 3)
    for step in (19, 2, 11, 1, 12):
        assert torch.equal(jumping.rows(step), wanted[step])
        assert torch.equal(Batches(50, size, 3).rows(step), wanted[step])


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = Batches(50, 50, 0).rows(1), Batches(50, 50, 0).rows(2)
    assert not torch.equal(first, second)
    assert not torch.equal(first, Batches(50, 50, 1).rows(1))


def test_derived_seeds_differ_by_every_part_and_fit_a_generator():
    seeds = {derived_seed(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, 2) == derived_seed(1, 2)


@st.composite
def relations_of_examples(draw):
    return torch.tensor(draw(st.lists(st.integers(0, 4), min_size=1, max_size=60)))


@given(relation=relations_of_examples(), group=st.integers(1, 9), size=st.integers(1, 70), seed=st.integers(0, 5))
def test_grouped_examples_come_once_an_epoch_in_groups_of_a_relation(relation, group, size, seed):
    number = len(relation)
    batches = Batches(number, size, seed, relation, group)
    rows = torch.cat([batches.rows(step) for step in range(1, -(-2 * number // size) + 1)])
    for epoch in range(2):
        order = rows[epoch * number : (epoch + 1) * number]
        assert sorted(order.tolist()) == list(range(number))
        # Read as groups: of the size asked for, and at most one smaller of each relation.
        groups, at, smaller = [], 0, set()
        while at < number:
            of = int(relation[order[at]])
            left = int((relation[order[at:]] == of).sum())
            length = group if left >= group and bool((relation[order[at : at + group]] == of).all()) else 0
            if not length:
                length = int((relation == of).sum()) % group
                assert length
                assert bool((relation[order[at : at + length]] == of).all())
                assert of not in smaller
                smaller.add(of)
            groups.append(length)
            at += length
        assert at == number


@given(relation=relations_of_examples(), seed=st.integers(0, 5))
def test_groups_of_one_are_the_order_without_groups(relation, seed):
    plain, grouped = Batches(len(relation), 7, seed), Batches(len(relation), 7, seed, relation, 1)
    for step in range(1, 12):
        assert torch.equal(plain.rows(step), grouped.rows(step))


def test_groups_and_what_is_in_them_change_with_the_epoch():
    relation = torch.arange(64) % 4
    batches = Batches(64, 64, 0, relation, 8)
    first, second = batches.rows(1), batches.rows(2)
    assert relation[first][::8].tolist() != relation[second][::8].tolist()
    assert {frozenset(part.tolist()) for part in first.split(8)}.isdisjoint(
        frozenset(part.tolist()) for part in second.split(8)
    )
    jumping = Batches(64, 64, 0, relation, 8)
    assert torch.equal(jumping.rows(2), second)
    assert torch.equal(jumping.rows(1), first)


def test_grouped_batches_have_fewer_relations():
    relation = torch.randint(40, (4000,), generator=torch.Generator().manual_seed(0))

    def distinct(group):
        batches = Batches(len(relation), 128, 0, relation, group)
        return sum(len(relation[batches.rows(step)].unique()) for step in range(1, 21)) / 20

    assert distinct(16) <= 10
    assert distinct(1) > 30


@pytest.mark.parametrize("objective", ["sampled", "1vsall"])
def test_the_option_reaches_the_batches_of_an_objective(objective):
    config = Config(objective=objective, batch_size=4, relation_group=4)
    examples = torch.tensor([[i, i % 2, i % 3] for i in range(16)])
    batches = Batches.of(config, examples)
    assert all(len(examples[batches.rows(step), 1].unique()) == 1 for step in range(1, 9))


def test_rows_for_the_cpu_are_not_copied():
    rows = Batches(50, 7, 3).rows(1)
    assert on_device(rows, torch.device("cpu")) is rows


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_nobody_waits_for_rows_to_reach_a_gpu():
    rows, device = Batches(50, 7, 3).rows(1), torch.device("cuda")
    on_device(rows, device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = on_device(rows, device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(there.cpu(), rows)
