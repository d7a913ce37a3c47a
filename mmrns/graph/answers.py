"""The known answers of every query, as compressed sparse rows (method.md section 8, identity 5)."""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mmrns.compiled import Loops, split
from mmrns.graph.keys import check_keys

_LOOPS = Loops(Path(__file__).with_name("native.cpp"))
# A binary search among a query's answers counts as so many multiplications when rows are shared between threads.
_WORK = 64

HEAD, TAIL = 0, 1
"""Direction of a query: HEAD asks (?, relation, anchor), TAIL asks (anchor, relation, ?)."""


class Queries(NamedTuple):
    """B queries (anchor, relation, direction), each with one true answer.

    Attributes:
        anchor: (B,) the entity that is given.
        relation: (B,) relation rows.
        answer: (B,) the entity that is asked for.
        direction: HEAD or TAIL, the same for the whole batch.
    """

    anchor: Tensor
    relation: Tensor
    answer: Tensor
    direction: int

    @classmethod
    def of(cls, triples: Tensor, direction: int) -> "Queries":
        """Ask for one side of (B, 3) triples."""
        head, relation, tail = triples.unbind(1)
        return cls(tail, relation, head, HEAD) if direction == HEAD else cls(head, relation, tail, TAIL)


class AnswerIndex:
    """Known answers of every query of a set of triples: sorted query keys, row offsets, sorted entity ids a row.

    Nothing of size queries x entities is ever built; every look-up is a binary search on the tensors' device: by the
    loops of native.cpp within the answers of a query, elsewhere in one sorted array of all answers.
    """

    def __init__(self, triples: Tensor, num_entities: int, num_relations: int) -> None:
        """Index (N, 3) int64 triples in both directions; duplicates count once. UserError as `check_keys`."""
        check_keys(num_entities, num_relations)
        self.num_entities = num_entities
        self.num_relations = num_relations
        pairs = self._distinct_pairs(triples)
        self.answers = (pairs % num_entities).int()  # as long as the triples twice over: half the bytes
        pairs //= num_entities
        self.query_keys, counts = torch.unique_consecutive(pairs, return_counts=True)
        del pairs
        # Two places more than there are queries: the end of the last, and that of "no known answer".
        self._offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 1))
        self._offsets[-1] = self._offsets[-2]

    # Two sorted arrays that make membership and complement look-ups one binary search each, where there are no loops.
    # They are as long as the triples twice over, so they are made when first asked for, in place where that can be.
    @cached_property
    def _row_answer(self) -> Tensor:
        return self._row_of_answer().mul_(self.num_entities).add_(self.answers)

    @cached_property
    def _row_gap(self) -> Tensor:
        row = self._row_of_answer()
        gap = torch.arange(len(row), device=row.device).neg_().add_(self._offsets[row])  # minus the place in the row
        return gap.add_(self.answers).add_(row.mul_(self.num_entities + 1))

    def _row_of_answer(self) -> Tensor:
        counts = self.counts
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    def _distinct_pairs(self, triples: Tensor) -> Tensor:
        """(query, answer) as one number each, sorted by query, then by answer; each once."""
        count = len(triples)
        pairs = triples.new_empty(2 * count)
        for part, direction in enumerate((HEAD, TAIL)):
            queries = Queries.of(triples, direction)
            into = pairs[part * count : (part + 1) * count]
            torch.mul(self._keys(queries), self.num_entities, out=into)
            into += queries.answer
        if pairs.device.type == "cpu":
            pairs.numpy().sort()  # in place, and several times faster than torch's sort
        else:
            pairs = pairs.sort().values
        return torch.unique_consecutive(pairs)

    @property
    def counts(self) -> Tensor:
        """(Q,) known answers of every query, in row order."""
        return self._offsets[1:-1] - self._offsets[:-2]

    @property
    def offsets(self) -> Tensor:
        """(Q,) where in all answers those of each query begin, in row order."""
        return self._offsets[:-2]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.answers.device

    def answers_at(self, places: Tensor) -> Tensor:
        """Entity ids at places among all answers, of the same shape."""
        return self.answers[places].long()

    def to(self, device: torch.device) -> "AnswerIndex":
        """This index on `device`."""
        moved = object.__new__(AnswerIndex)
        moved.__dict__ = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        return moved

    def _keys(self, queries: Queries) -> Tensor:
        directed = queries.relation + queries.direction * self.num_relations
        return directed * self.num_entities + queries.anchor

    def queries(self, rows: Tensor | None = None) -> Tensor:
        """(Q, 3) anchor, relation and direction of the queries in `rows`; without it of all that have an answer."""
        keys = self.query_keys if rows is None else self.query_keys[rows]
        directed, anchor = keys // self.num_entities, keys % self.num_entities
        relation, direction = directed % self.num_relations, directed // self.num_relations
        return torch.stack([anchor, relation, direction], dim=1)

    def rows(self, queries: Queries) -> Tensor:
        """(B,) row of each query; the last row + 1 stands for "no known answer"."""
        if not len(self.query_keys):
            return torch.zeros_like(queries.anchor)
        keys = self._keys(queries)
        if _LOOPS.usable(keys, dtype=torch.int64):
            row = torch.empty_like(keys)
            _LOOPS.call("less", self.query_keys, len(self.query_keys), keys, row, 0, len(row))
        else:
            row = torch.searchsorted(self.query_keys, keys)
        found = self.query_keys[row.clamp_max(len(self.query_keys) - 1)] == keys
        return torch.where(found, row, len(self.query_keys))

    def count(self, rows: Tensor) -> Tensor:
        """(B,) number of known answers."""
        return self._offsets[rows + 1] - self._offsets[rows]

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """All known answers of the rows, flat: (K,) position in `rows`, (K,) entity id."""
        count = self.count(rows)
        position = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), count)
        start = self._offsets[rows]
        within = torch.arange(len(position), device=rows.device) - (count.cumsum(0) - count)[position]
        return position, self.answers_at(start[position] + within)

    def contains(self, rows: Tensor, entities: Tensor) -> Tensor:
        """Whether entities (B, n) are known answers of rows (B,): (B, n) bool."""
        if _LOOPS.usable(rows, entities, dtype=torch.int64):
            return self._search("contains", rows, entities, torch.empty(entities.shape, dtype=torch.bool))
        if not len(self._row_answer):
            return torch.zeros_like(entities, dtype=torch.bool)
        wanted = rows[:, None] * self.num_entities + entities
        place = torch.searchsorted(self._row_answer, wanted).clamp_max(len(self._row_answer) - 1)
        return self._row_answer[place] == wanted

    def complement(self, rows: Tensor, ranks: Tensor) -> Tensor:
        """The ranks-th entity (from 0, ascending) that is *not* a known answer: (B, n) ids for (B,) rows, (B, n) ranks.

        Exact and without rejection: answer i of a row, a_i, has a_i - i non-answers below it, so the r-th non-answer
        is r plus the number of i with a_i - i <= r. Ranks must lie below num_entities - count(rows).
        """
        if _LOOPS.usable(rows, ranks, dtype=torch.int64):
            return self._search("complement", rows, ranks, torch.empty(ranks.shape, dtype=torch.int64))
        start = self._offsets[rows][:, None]
        wanted = rows[:, None] * (self.num_entities + 1) + ranks
        return ranks + torch.searchsorted(self._row_gap, wanted, right=True) - start

    def _search(self, function: str, rows: Tensor, wanted: Tensor, found: Tensor) -> Tensor:
        """Let a loop fill `found` (B, n) with what it finds of `wanted` (B, n) among the answers of rows (B,)."""
        start, count, wanted = self._offsets[rows], self.count(rows), wanted.contiguous()
        ranges = split(len(rows), _WORK * wanted.numel())
        _LOOPS.share(function, ranges, lambda part: (self.answers, start, count, wanted, found, wanted.shape[1]))
        return found

    def window(self, rows: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Up to `number` distinct known answers of each row: (B, number) ids and a (B, number) bool of which are real.

        All of them where a row has no more than that; otherwise a run of neighbours from a random start, in which
        every answer is equally likely. Rows must have at least one answer.
        """
        count = self.count(rows)[:, None]
        uniform = torch.rand(len(rows), 1, generator=generator, device=rows.device)
        start = (uniform * count).long().clamp_max(count - 1)
        step = torch.arange(number, device=rows.device)
        return self.answers_at(self._offsets[rows][:, None] + (start + step) % count), step < count
