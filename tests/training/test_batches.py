"""The order of train triples: every triple once an epoch, a pure function of seed and step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrns.training.batches import Batches, derived_seed


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
