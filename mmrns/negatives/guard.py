"""Candidates that may well be true answers: found by likeness, by the model's score, or by what they answer in train.

The nearest candidates are the hardest negatives and the likeliest false ones. A guard marks a share of them; the
sampler then multiplies their probability by --guard-weight, 0 to skip them. Only train and the model are asked, never
valid or test.
"""

import math

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from mmrns.graph.answers import TAIL, AnswerIndex, Queries
from mmrns.negatives.pool import Pool
from mmrns.negatives.similarity import Similarities

# A query that more entities than this answer says little of any two of them, and would pair them all.
_MOST_ANSWERS = 200
# Listing an answer costs a CPU as much as looking this many candidates up, at pools of 500 and of 1,500.
_LOOK_UPS_AN_ANSWER = 4


def highest(values: Tensor, share: float, eligible: Tensor) -> Tensor:
    """Which of P candidates a row are above its (1 - share) quantile: (B, P) bool.

    Args:
        values: (B, P).
        share: round(share * P) candidates a row are marked, fewer where fewer are eligible.
        eligible: (B, P) bool; others are neither marked nor counted among the highest.
    """
    number = round(share * values.shape[1])
    marked = torch.zeros_like(eligible)
    if number:
        columns = values.detach().masked_fill(~eligible, -torch.inf).topk(number, dim=1).indices
        marked.scatter_(1, columns, True)
    return marked & eligible


def mean_similarity(similarities: Similarities, pool: Pool) -> Tensor:
    """Mean cosine over the modalities that an answer and a candidate share, -inf where they share none: (B, P)."""
    totals, shared = [], []
    for name in similarities.to_positives:
        values, present = similarities.to_candidates[name], similarities.present[name]
        both = (present[pool.positives[:, :1]] & present[None, : pool.size]).to(values.dtype)
        totals.append(values.detach() * both)
        shared.append(both)
    total, number = torch.stack(totals).sum(0), torch.stack(shared).sum(0)
    return torch.where(number > 0, total / number.clamp_min(1), -torch.inf)


def log_of(weight: float) -> float:
    """log weight, -inf of 0."""
    return math.log(weight) if weight else -math.inf


class CoAnswers:
    """For each entity, those that answer the same queries of train: its likeliest stand-ins.

    The weight of a pair is the sum over the queries that both answer of 1 / log(1 + number of answers), as Adamic and
    Adar weigh common neighbours (Social Networks, 2003); the heaviest are kept.
    """

    def __init__(self, answers: AnswerIndex, share: float) -> None:
        """Find up to round(share * E) co-answers of each entity; at least one, but for a share of 0."""
        number = answers.num_entities
        self.pairs = _heaviest(answers, max(1, round(share * number)) if share else 0)
        device = answers.device
        triples = torch.from_numpy(self.pairs).to(device)
        # An index of (entity, 0, co-answer) triples finds a batch's pairs as it finds known answers.
        self.index = AnswerIndex(
            torch.stack([triples[:, 0], torch.zeros_like(triples[:, 0]), triples[:, 1]], dim=1), number, 1
        )

    def columns(self, answer: Tensor, pool: Pool) -> Tensor:
        """Which candidates are co-answers of the B answers: (B, P) bool."""
        queries = Queries(answer, torch.zeros_like(answer), answer, TAIL)
        return known_columns(self.index, self.index.rows(queries), pool)


def known_columns(index: AnswerIndex, rows: Tensor, pool: Pool) -> Tensor:
    """Which of the pool's candidates the index lists for its rows (B,): (B, P) bool.

    A candidate is looked up among a row's answers, or the answers are listed and looked up among the candidates: the
    latter on a CPU alone, where few are listed; a GPU would be waited for to learn how many.
    """
    if rows.device.type != "cpu" or _LOOK_UPS_AN_ANSWER * int(index.count(rows).sum()) > len(rows) * pool.size:
        return index.contains(rows, pool.candidates.expand(len(rows), -1))
    position, entities = index.pairs(rows)
    column, inside = pool.columns(entities)
    known = torch.zeros(len(rows), pool.size, dtype=torch.bool, device=rows.device)
    known[position[inside], column[inside]] = True
    return known


def _heaviest(answers: AnswerIndex, most: int) -> np.ndarray:
    """(N, 2) entity and co-answer, up to `most` of each entity, by descending weight and then by row."""
    counts = answers.counts.cpu().numpy()
    query = np.repeat(np.arange(len(counts)), counts)
    entity = answers.answers.cpu().numpy()
    small = counts[query] <= _MOST_ANSWERS
    weight = np.sqrt(1.0 / np.log1p(counts[query[small]]))
    shape = (answers.num_entities, len(counts))
    incidence = scipy.sparse.csr_matrix((weight, (entity[small], query[small])), shape=shape)
    together = (incidence @ incidence.T).tocoo()
    apart = together.row != together.col
    row, column, value = together.row[apart], together.col[apart], together.data[apart]
    order = np.lexsort((column, -value, row))
    row, column = row[order].astype(np.int64), column[order].astype(np.int64)
    first = np.searchsorted(row, np.arange(answers.num_entities))
    kept = np.arange(len(row)) - first[row] < most
    return np.stack([row[kept], column[kept]], axis=1)
