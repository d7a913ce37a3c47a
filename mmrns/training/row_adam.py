"""Adam on the rows of a table that a step used: torch's SparseAdam, with each row visited once."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrns.compiled import Loops, split
from mmrns.memory import huge_pages

_LOOPS = Loops(Path(__file__).with_name("native.cpp"))
# A number of a row counts as so many multiplications when rows are shared between threads.
_WORK = 8
# Numbers worked on at once: a block of the gradient and its four temporaries stay in a core's cache. A GPU asks for few
# operations instead.
_BLOCK, _BLOCK_ON_GPU = 1 << 15, 1 << 26


def coalesced(gradient: Tensor) -> Tensor:
    """A sparse gradient with its rows in order, each once; not copied where they are already, as in most steps."""
    rows = gradient._indices()[0]
    # Whether rows are in order is not asked on a GPU, which would be waited for.
    if gradient.is_coalesced() or gradient.is_cuda or not bool((rows[1:] > rows[:-1]).all()):
        return gradient.coalesce()
    size = gradient.shape
    return torch.sparse_coo_tensor(
        gradient._indices(), gradient._values(), size, is_coalesced=True, check_invariants=False
    )


class RowAdam(torch.optim.SparseAdam):
    """torch's SparseAdam with the same state and the same numbers; by the loop, square roots may end in another bit.

    torch adds sparse tensors to the table and to each moment, and reads the moments' rows as sparse tensors before:
    five walks over random rows, each with a search or a copy. Here the loop of native.cpp visits each row once, asking
    for the memory of the next ones meanwhile; without it, a block of rows is read, worked on and written back while it
    is in the cache.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`; also take the moments of torch's Adam, which counts steps in a tensor."""
        super().load_state_dict(state_dict)
        for kept in self.state.values():
            kept["step"] = int(kept["step"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows of every sparse gradient. A closure is not taken."""
        if closure is not None:
            raise ValueError("no closure is taken")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, table: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = 0
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = huge_pages(torch.zeros_like(table))
        state["step"] += 1
        (beta1, beta2), step = group["betas"], state["step"]
        size = float(group["lr"]) * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        assert table.grad is not None
        gradient = coalesced(table.grad)
        if _LOOPS.usable(table, gradient._values()) and table.is_contiguous():
            _loop(table, gradient, state, 1 - beta1, 1 - beta2, group["eps"], size)
            return
        number = max(1, (_BLOCK_ON_GPU if table.is_cuda else _BLOCK) // table[:1].numel())
        blocks = zip(gradient._indices()[0].split(number), gradient._values().split(number), strict=True)
        for rows, values in blocks:
            # In torch's order of operations: m + (1 - b) (g - m) is not b m + (1 - b) g to the bit.
            first, second = state["exp_avg"].index_select(0, rows), state["exp_avg_sq"].index_select(0, rows)
            first += values.sub(first).mul_(1 - beta1)
            second += values.square().sub_(second).mul_(1 - beta2)
            state["exp_avg"].index_copy_(0, rows, first)
            state["exp_avg_sq"].index_copy_(0, rows, second)
            change = first.div_(second.sqrt_().add_(group["eps"])).mul_(-size)
            table.index_copy_(0, rows, table.index_select(0, rows).add_(change))


def _loop(
    table: Tensor, gradient: Tensor, state: dict[str, Any], rest1: float, rest2: float, epsilon: float, size: float
) -> None:
    rows, values = gradient._indices()[0], gradient._values().contiguous()
    if len(rows) and not (rows[0] >= 0 and rows[-1] < len(table)):  # they are in order
        raise IndexError(f"rows {int(rows[0])} to {int(rows[-1])} of a table of {len(table)}")
    numbers = table.detach(), state["exp_avg"], state["exp_avg_sq"], rows, values
    constants = values.shape[1], float(rest1), float(rest2), float(epsilon), float(size)
    _LOOPS.share("row_adam", split(len(rows), _WORK * values.numel()), lambda part: (*numbers, *constants))
