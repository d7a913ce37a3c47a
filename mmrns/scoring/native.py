"""The loops of native.cpp over tensors of torch."""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from mmrns.compiled import Loops, split

_LOOPS = Loops(Path(__file__).with_name("native.cpp"))


def usable(*tensors: Tensor) -> bool:
    """Whether the compiled loops take these tensors: single precision, on a CPU for which they could be compiled."""
    return _LOOPS.usable(*tensors)


def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where there is no C++ compiler or MMRNS_NATIVE=0 forbids them."""
    return _LOOPS.library()


def every(name: str, queries: Tensor, table: Tensor) -> Tensor:
    """Compare (B, q) queries with every row of a table (N, w): (B, N)."""
    queries, table = queries.contiguous(), table.contiguous()
    out = torch.empty(len(queries), len(table))
    sizes = len(queries), len(table), table.shape[1]
    ranges = split(len(table), len(queries) * table.numel())
    _LOOPS.share(f"{name}_every", ranges, lambda part: (queries, table, out, *sizes))
    return out


def every_gradient(name: str, to_out: Tensor, out: Tensor, queries: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients to the queries (B, q) and to the table (N, w) of `every`."""
    ranges = split(len(table), len(queries) * table.numel())
    return _gradient(name, ranges, to_out, out, queries, table, None, None, len(table))


class Grouped:
    """(B, n) rows of a table, grouped by row, so that each row is read once for all queries that it meets."""

    def __init__(self, rows: Tensor, table_rows: int, width: int) -> None:
        rows = rows.contiguous()
        if rows.numel() and not (rows.min() >= 0 and rows.max() < table_rows):
            raise IndexError(f"rows {int(rows.min())} to {int(rows.max())} of a table of {table_rows}")
        self.shape = rows.shape
        self.offsets, self.order = rows.new_empty(table_rows + 1), rows.new_empty(rows.numel())
        _LOOPS.call("group", rows, rows.numel(), self.offsets, self.order, table_rows)
        self.ranges = split(table_rows, rows.numel() * width, self.offsets)

    def compare(self, name: str, queries: Tensor, table: Tensor) -> Tensor:
        """Compare (B, q) queries with their rows of a table (N, w): (B, n)."""
        queries, table = queries.contiguous(), table.contiguous()
        out = torch.empty(self.shape)
        sizes = self.shape[1], table.shape[1]
        _LOOPS.share(f"{name}_pairs", self.ranges, lambda part: (queries, table, out, self.offsets, self.order, *sizes))
        return out

    def gradient(self, name: str, to_out: Tensor, out: Tensor, queries: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients to the queries (B, q) and to the table (N, w) of `compare`."""
        return _gradient(
            name, self.ranges, to_out, out, queries, table, self.offsets, self.order, max(1, self.shape[1])
        )


def _gradient(
    name: str,
    ranges: list[tuple[int, int]],
    to_out: Tensor,
    out: Tensor,
    queries: Tensor,
    table: Tensor,
    offsets: Tensor | None,
    order: Tensor | None,
    each: int,
) -> tuple[Tensor, Tensor]:
    to_out, queries, table = to_out.contiguous(), queries.contiguous(), table.contiguous()
    # A range has a sum of its own for the queries; they are added in order, so that equal threads give equal bits.
    to_queries = torch.zeros(len(ranges), *queries.shape)
    to_table = torch.empty_like(table)
    sizes = len(queries), each, table.shape[1]
    _LOOPS.share(
        f"{name}_gradient",
        ranges,
        lambda part: (to_out, out, queries, table, to_queries[part], to_table, offsets, order, *sizes),
    )
    return to_queries.sum(0), to_table
