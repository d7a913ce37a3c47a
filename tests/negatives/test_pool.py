"""The pool of candidates: uniform, distinct, and laid out once."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmrns.negatives.pool import Pool, draw_distinct


@settings(max_examples=50)
@given(total=st.integers(1, 4000), number=st.integers(1, 60), seed=st.integers(0, 1000))
def test_pool_draws_are_distinct_sorted_and_complete(total, number, seed):
    drawn = draw_distinct(total, number, torch.Generator().manual_seed(seed))
    assert len(drawn) == min(total, number)
    assert torch.equal(drawn, torch.unique(drawn))
    assert int(drawn.min()) >= 0 and int(drawn.max()) < total


def test_pool_draws_are_uniform_on_both_paths():
    for total, number in ((40, 10), (1000, 5)):  # a permutation, and rejection
        generator = torch.Generator().manual_seed(0)
        counts = sum(torch.bincount(draw_distinct(total, number, generator), minlength=total) for _ in range(4000))
        assert chisquare(counts.numpy()).pvalue > 1e-3


@settings(max_examples=50)
@given(data=st.data())
def test_pool_lays_entities_out_once_and_finds_them_again(data):
    candidates = torch.tensor(sorted(data.draw(st.sets(st.integers(0, 30), min_size=1, max_size=12))))
    row = st.lists(st.integers(0, 30), min_size=2, max_size=2)
    positives = torch.tensor(data.draw(st.lists(row, min_size=1, max_size=6)))
    pool = Pool.of(candidates, positives)
    assert torch.equal(pool.rows[pool.positives], positives)
    assert len(torch.unique(pool.rows)) == len(pool.rows)
    assert torch.equal(pool.candidates, candidates)
    column, inside = pool.columns(torch.arange(31))
    assert [e for e in range(31) if inside[e]] == candidates.tolist()
    assert torch.equal(pool.candidates[column[inside]], torch.arange(31)[inside])
