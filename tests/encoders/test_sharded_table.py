"""What PyTorch's distributed tensors can do for a table too large for one process (docs/distributed.md)."""

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from tests.training import stopped


def look_up_and_step():
    """In each of two processes: a table cut by rows beside a whole one."""
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    whole, cut = nn.Embedding(7, 4), nn.Embedding(7, 4)
    cut.weight = nn.Parameter(distribute_tensor(whole.weight.detach(), mesh, [Shard(0)]))
    assert len(cut.weight.to_local()) == (4, 3)[mesh.get_rank()]
    rows, goal = torch.tensor([[0, 6, 3], [3, 3, 5]]), torch.randn(2, 3, 4)
    expected, found = whole(rows), cut(distribute_tensor(rows, mesh, [Replicate()])).full_tensor()
    assert torch.equal(found, expected)
    for vectors in (expected, found):
        (vectors - goal).square().sum().backward()
    assert torch.equal(cut.weight.grad.full_tensor(), whole.weight.grad)
    for table in (whole, cut):
        torch.optim.Adagrad(table.parameters(), lr=0.1).step()
    assert torch.equal(cut.weight.full_tensor(), whole.weight)
    assert cut.weight.placements == (Shard(0),)


def test_a_table_cut_by_rows_gives_the_vectors_gradients_and_steps_of_a_whole_one():
    assert stopped.call_together(look_up_and_step) == [0, 0]
