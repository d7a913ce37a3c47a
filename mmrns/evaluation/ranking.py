"""Filtered ranks of true answers among all entities, in both directions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmrns.errors import DivergedError
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex, Queries
from mmrns.scoring import KnowledgeGraphModel


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
    model: KnowledgeGraphModel, triples: NDArray[np.int64], known: AnswerIndex, memory_mb: int, allow_nan: bool = False
) -> Ranks:
    """Rank both ends of (N, 3) triples against every entity, leaving out other known answers.

    Ranks come from two comparisons a score row; known answers are taken back by index, so neither a sort nor a mask
    of queries x entities is needed. A query asked by several triples of a chunk is scored once.

    Args:
        known: answers to leave out, usually of all splits, on the model's device.
        memory_mb: bound on the score rows and comparisons held at once.
        allow_nan: rank NaN last instead of failing.

    Raises:
        DivergedError: a score is NaN, which means that training diverged.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            sides = [
                _rank_direction(model, triples, direction, known, memory_mb, allow_nan) for direction in (HEAD, TAIL)
            ]
    finally:
        model.train(was_training)
    optimistic, pessimistic, candidates = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    direction_column = np.repeat(np.array([HEAD, TAIL]), len(triples))
    return Ranks(np.concatenate([triples, triples]), direction_column, optimistic, pessimistic, candidates)


def _rank_direction(
    model: KnowledgeGraphModel,
    triples: NDArray[np.int64],
    direction: int,
    known: AnswerIndex,
    memory_mb: int,
    allow_nan: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    anchor_column = 2 if direction == HEAD else 0
    order = np.lexsort((triples[:, anchor_column], triples[:, 1]))
    # A score row, its copy a triple and two comparisons: 4 + 4 + 1 + 1 bytes an entity.
    chunk = max(1, memory_mb * 2**20 // (10 * known.num_entities))
    result = np.empty((3, len(triples)), dtype=np.int64)
    device = known.answers.device
    for start in range(0, len(order), chunk):
        places = order[start : start + chunk]
        queries = Queries.of(torch.from_numpy(triples[places]).to(device), direction)
        result[:, places] = torch.stack(_rank_chunk(model, queries, known, allow_nan)).cpu().numpy()
    return result[0], result[1], result[2]


def _rank_chunk(
    model: KnowledgeGraphModel, queries: Queries, known: AnswerIndex, allow_nan: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Optimistic rank, pessimistic rank and number of candidates of queries sorted by (relation, anchor): (B,) each."""
    pairs = torch.stack([queries.relation, queries.anchor], dim=1)
    distinct, row = torch.unique_consecutive(pairs, dim=0, return_inverse=True)
    scores = model.score_all(distinct[:, 1], distinct[:, 0], queries.direction).float()
    if not allow_nan and torch.isnan(scores.sum()) and torch.isnan(scores).any():
        raise DivergedError("scores are NaN: the training diverged; lower --learning-rate or set --clip-gradient")
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
    return optimistic, pessimistic, candidates
