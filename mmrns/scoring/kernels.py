"""Ways to compare a query vector with a candidate vector; scoring functions share them.

Each is one number of two vectors. Where the loops of native.cpp can be had, many candidates are compared without a
tensor of queries x candidates x width, forward or backward; everywhere else by plain torch, to the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from mmrns.scoring import native

# Bytes of the largest intermediate of the generic all-entity path: small enough to stay in a CPU core's cache.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Comparison:
    """A number of a query vector and a candidate vector.

    Attributes:
        name: of its loops in native.cpp.
        plain: the same in torch: queries (..., q), candidates (..., w), broadcasting, to (...).
        query_numbers: q / w.
    """

    name: str
    plain: Callable[[Tensor, Tensor], Tensor]
    query_numbers: int = 1

    def every(self, queries: Tensor, table: Tensor) -> Tensor:
        """Compare (B, q) queries with every row of a table (N, w): (B, N)."""
        if self is PRODUCT:
            return queries @ table.T
        if self._compiled(queries, table):
            return _Every.apply(queries, table, self.name)
        return by_blocks(lambda part, rows: self.plain(part[:, None], rows), queries, table)

    def rows(self, queries: Tensor, table: Tensor, rows: Tensor) -> Tensor:
        """Compare (B, q) queries with the rows (B, n) of a table (N, w): (B, n)."""
        if self._compiled(queries, table):
            return _Rows.apply(queries, table, rows, self.name)
        return self.plain(queries[:, None], F.embedding(rows, table))

    def _compiled(self, queries: Tensor, table: Tensor) -> bool:
        """Whether the loops of native.cpp apply; they do not check widths themselves."""
        return queries.shape[1] == self.query_numbers * table.shape[1] and native.usable(queries, table)


def by_blocks(compare: Callable[[Tensor, Tensor], Tensor], queries: Tensor, table: Tensor) -> Tensor:
    """Fill (B, N) so that no intermediate holds more than a block of queries x candidates x width, forward or backward.

    Args:
        compare: queries (b, q) and candidates (m, w) to (b, m).
        queries, table: (B, q), (N, w).
    """
    on_cpu = queries.device.type == "cpu"
    room = max(1, (_BLOCK_BYTES if on_cpu else 256 * _BLOCK_BYTES) // (4 * table.shape[1]))
    number = max(1, min(len(queries), room // 64))
    if torch.is_grad_enabled() and len(queries) * len(table) > room:
        # Autograd would keep the intermediates of every block.
        compare = partial(checkpoint, compare, use_reentrant=False, preserve_rng_state=False)
    out = [
        torch.cat([compare(part, block) for block in table.split(max(1, room // number))], dim=1)
        for part in queries.split(number)
    ]
    return torch.cat(out) if len(queries) else queries.new_zeros(0, len(table))


class _Every(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, queries: Tensor, table: Tensor, name: str) -> Tensor:
        out = native.every(name, queries, table)
        context.save_for_backward(queries, table, out)
        context.name = name
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, table, out = context.saved_tensors
        return *native.every_gradient(context.name, gradient, out, queries, table), None


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, queries: Tensor, table: Tensor, rows: Tensor, name: str) -> Tensor:
        grouped = native.Grouped(rows, len(table), table.shape[1])
        out = grouped.compare(name, queries, table)
        context.save_for_backward(queries, table, out)
        context.name, context.grouped = name, grouped
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, table, out = context.saved_tensors
        return *context.grouped.gradient(context.name, gradient, out, queries, table), None, None


def complex_distance(left: Tensor, right: Tensor) -> Tensor:
    """sum_i |left_i - right_i| of complex vectors held as real parts, then imaginary parts: (...) of (..., 2 d).

    Broadcasts. Cheapest when `left` is the smaller. The gradient at equal numbers, where there is none, is 0.
    """
    return _ComplexDistance.apply(left, right)


class _ComplexDistance(torch.autograd.Function):
    """Four passes over the broadcast difference forward and three backward, where autograd makes about twenty."""

    @staticmethod
    def forward(context: Any, left: Tensor, right: Tensor) -> Tensor:
        difference = left - right
        real, imaginary = difference.chunk(2, dim=-1)
        modulus = torch.hypot(real, imaginary)
        context.save_for_backward(difference, modulus)
        context.shapes = left.shape, right.shape
        return modulus.sum(-1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        difference, modulus = context.saved_tensors
        left_shape, right_shape = context.shapes
        scale = (-gradient[..., None] / modulus).masked_fill_(modulus == 0, 0)
        halves = difference.unflatten(-1, (2, modulus.shape[-1]))
        to_right = (halves * scale.unsqueeze(-2)).flatten(-2)
        return -to_right.sum_to_size(left_shape), to_right.sum_to_size(right_shape)


def _scaled_manhattan(queries: Tensor, candidates: Tensor) -> Tensor:
    query, scale = queries.chunk(2, dim=-1)
    return (query - scale * candidates).abs().sum(-1)


PRODUCT = Comparison("product", lambda queries, candidates: (queries * candidates).sum(-1))
"""sum_i q_i c_i"""
MANHATTAN = Comparison("manhattan", lambda queries, candidates: (queries - candidates).norm(p=1, dim=-1))
"""sum_i |q_i - c_i|"""
SCALED_MANHATTAN = Comparison("scaled_manhattan", _scaled_manhattan, query_numbers=2)
"""sum_i |q_i - s_i c_i|; a query vector is q, then s"""
EUCLIDEAN = Comparison("euclidean", lambda queries, candidates: (queries - candidates).norm(p=2, dim=-1))
"""sqrt(sum_i (q_i - c_i)^2)"""
COMPLEX = Comparison("complex", complex_distance)
"""sum_i |q_i - c_i| of complex numbers; a vector is its real parts, then its imaginary parts"""
