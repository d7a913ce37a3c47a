"""Filtered ranks of true answers among all entities, in both directions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmrns.errors import DivergedError
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex, Queries
from mmrns.processes import ALONE, Processes
from mmrns.scoring import Ranker

# Queries scored at once: enough to keep a machine busy, few enough to be shared by many processes.
_LARGEST_CHUNK = 256


@dataclass(frozen=True)
class Ranks:
    """Ranks of Q = 2N queries: first the N head queries, then the N tail queries, in the triples' order.

    Attributes:
        triples: (Q, 3) int64, the triple behind each query.
        direction: (Q,) HEAD or TAIL.
        optimistic, pessimistic: (Q,) rank from 1 if ties are won, or lost. The rank is their mean.
        candidates: (Q,) entities ranked, the true answer among them and other known answers not.
    """

    triples: NDArray[np.int64]
    direction: NDArray[np.int64]
    optimistic: NDArray[np.int64]
    pessimistic: NDArray[np.int64]
    candidates: NDArray[np.int64]

    @property
    def rank(self) -> NDArray[np.float64]:
        """(Q,) mean of optimistic and pessimistic rank."""
        return (self.optimistic + self.pessimistic) / 2

    @property
    def answer(self) -> NDArray[np.int64]:
        """(Q,) entity row of the true answer."""
        return np.where(self.direction == HEAD, self.triples[:, 0], self.triples[:, 2])


def rank_triples(
    model: Ranker,
    triples: NDArray[np.int64],
    known: AnswerIndex,
    memory_mb: int,
    allow_nan: bool = False,
    together: Processes = ALONE,
) -> Ranks:
    """Rank both ends of (N, 3) triples against every entity, leaving out other known answers.

    Ranks come from two comparisons a score row; known answers are taken back by index, so neither a sort nor a mask
    of queries x entities is needed. A query asked by several triples of a chunk is scored once. Several processes
    score every other chunk each. How queries are cut into chunks does not depend on how many there are, so neither
    do the scores, to the last bit, nor the ranks.

    Args:
        known: answers to leave out, usually of all splits, on the model's device.
        memory_mb: bound on the score rows and comparisons that a process holds at once.
        allow_nan: rank NaN last instead of failing.
        together: the processes that rank these triples together; every one gets all ranks.

    Raises:
        DivergedError: a score is NaN, which means that training diverged; in every process.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            counts = together.total(_rank_share(model, triples, known, memory_mb, allow_nan, together))
    finally:
        model.train(was_training)
    optimistic, pessimistic, candidates, nan = counts.flatten(1).numpy()
    if not allow_nan and nan.any():
        raise DivergedError("scores are NaN: the training diverged; lower --learning-rate or set --clip-gradient")
    direction_column = np.repeat(np.array([HEAD, TAIL]), len(triples))
    return Ranks(np.concatenate([triples, triples]), direction_column, optimistic, pessimistic, candidates)


def _rank_share(
    model: Ranker,
    triples: NDArray[np.int64],
    known: AnswerIndex,
    memory_mb: int,
    allow_nan: bool,
    together: Processes,
) -> Tensor:
    """What `_rank_chunk` gives: (4, 2, N) by direction (HEAD, TAIL) and triple, 0 where another process has a query."""
    # A score row, its copy a triple and two comparisons: 4 + 4 + 1 + 1 bytes an entity.
    size = min(_LARGEST_CHUNK, max(1, memory_mb * 2**20 // (10 * known.num_entities)))
    chunks = []
    for direction, anchor_column in ((HEAD, 2), (TAIL, 0)):
        order = np.lexsort((triples[:, anchor_column], triples[:, 1]))
        chunks += [(direction, order[start : start + size]) for start in range(0, len(order), size)]
    everything: Any = model.entities.everything()
    counts = torch.zeros(4, 2, len(triples), dtype=torch.int64)
    for direction, places in together.share(chunks):
        queries = Queries.of(torch.from_numpy(triples[places]).to(known.device), direction)
        found = torch.stack(_rank_chunk(model, queries, known, everything)).cpu()
        counts[:, direction, places] = found
        if not allow_nan and found[3].any():
            break
    return counts


def _rank_chunk(
    model: Ranker, queries: Queries, known: AnswerIndex, everything: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of queries sorted by (relation, anchor), (B,) each: both ranks, number of candidates, and whether a score is NaN.

    Args:
        everything: vectors of all entities, as the model's encoder gives them.
    """
    pairs = torch.stack([queries.relation, queries.anchor], dim=1)
    distinct, row = torch.unique_consecutive(pairs, dim=0, return_inverse=True)
    scores = model.score_all(distinct[:, 1], distinct[:, 0], queries.direction, everything).float()
    nan = torch.isnan(scores.sum(1))
    if nan.any():  # a sum of infinities is NaN too
        nan = torch.isnan(scores).any(1)
    true_score = scores[row, queries.answer]
    by_triple = scores if len(distinct) == len(row) else scores[row]
    greater = (by_triple > true_score[:, None]).sum(1)
    equal = (by_triple == true_score[:, None]).sum(1) - 1

    position, entity = known.pairs(known.rows(queries))
    other = entity != queries.answer[position]
    position, entity = position[other], entity[other]
    known_score = scores[row[position], entity]
    greater.index_add_(0, position, -(known_score > true_score[position]).long())
    equal.index_add_(0, position, -(known_score == true_score[position]).long())
    candidates = known.num_entities - torch.bincount(position, minlength=len(row))

    # NaN compares false with everything, which would put it first.
    lost = torch.isnan(true_score)
    optimistic = torch.where(lost, candidates, greater + 1)
    pessimistic = torch.where(lost, candidates, greater + 1 + equal)
    return optimistic, pessimistic, candidates, nan[row].long()
