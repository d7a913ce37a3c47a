"""RowAdam against torch's SparseAdam: bit for bit, but for square roots, which torch leaves to a library."""

import copy

import pytest
import torch

from mmrns.memory import huge_pages
from mmrns.training.row_adam import RowAdam, coalesced
from tests.ways import take

ROWS, WIDTH = 1500, 40  # more rows than a block of the optimiser holds


@pytest.fixture(autouse=True, params=["here", "torch", "three threads"])
def same(request, monkeypatch):
    """Whether two tables are the same: to the bit, or, where the loop took roots, within a unit or two of the last."""
    take(request.param, monkeypatch)
    if request.param == "torch":
        return torch.equal
    return lambda mine, theirs: torch.allclose(mine, theirs, rtol=3e-7, atol=1e-8)


def table():
    return torch.nn.Parameter(torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1)))


def sparse(rows, generator):
    values = torch.randn(len(rows), WIDTH, generator=generator)
    return torch.sparse_coo_tensor(rows[None], values, (ROWS, WIDTH), check_invariants=True)


@pytest.mark.parametrize("distinct", [True, False])
def test_table_and_state_are_those_of_torch(distinct, same):
    mine, theirs = table(), table()
    optimizers = [RowAdam([mine], lr=0.01), torch.optim.SparseAdam([theirs], lr=0.01)]
    generator = torch.Generator().manual_seed(2)
    for _ in range(6):
        rows = torch.randint(ROWS, (3000,), generator=generator)
        mine.grad = sparse(rows.unique() if distinct else rows, generator)
        theirs.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert same(mine, theirs)
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for name, value in states[1]["state"][0].items():
        assert torch.equal(torch.as_tensor(states[0]["state"][0][name]), torch.as_tensor(value)), name


def test_a_state_of_torch_goes_on_to_the_same_numbers(same):
    mine, theirs = table(), table()
    old, new = torch.optim.SparseAdam([theirs], lr=0.01), RowAdam([mine], lr=0.5)
    generator = torch.Generator().manual_seed(3)
    theirs.grad = sparse(torch.tensor([5, 7]), generator)
    old.step()
    mine.data.copy_(theirs)
    new.load_state_dict(copy.deepcopy(old.state_dict()))  # loading shares tensors
    mine.grad = sparse(torch.tensor([7, 9]), generator)
    theirs.grad = mine.grad.clone()
    old.step()
    new.step()
    assert same(mine, theirs)


def test_a_row_that_the_table_lacks_is_an_error():
    mine = table()
    mine.grad = torch.sparse_coo_tensor(
        [[ROWS]], torch.ones(1, WIDTH), (ROWS, WIDTH), check_invariants=False, is_coalesced=True
    )
    with pytest.raises((IndexError, RuntimeError)):
        RowAdam([mine], lr=0.01).step()


@pytest.mark.parametrize("rows", [[], [3], [1, 4, 9], [4, 1], [2, 2, 5]])
def test_coalesced_is_torchs(rows):
    gradient = sparse(torch.tensor(rows, dtype=torch.int64), torch.Generator().manual_seed(4))
    found, expected = coalesced(gradient), gradient.clone().coalesce()
    assert found.is_coalesced()
    assert torch.equal(found.indices(), expected.indices())
    assert torch.equal(found.values(), expected.values())


def test_huge_pages_keep_numbers_and_place():
    for size in (1, 3 << 20):
        numbers = torch.arange(size, dtype=torch.float32)
        kept = huge_pages(numbers)
        assert kept.data_ptr() == numbers.data_ptr()
        assert torch.equal(kept, torch.arange(size, dtype=torch.float32))
