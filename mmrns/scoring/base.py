"""What a scoring function is: how wide its vectors are, and one broadcasting `score`."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrns.graph.answers import HEAD, TAIL
from mmrns.scoring.kernels import PRODUCT, Comparison, by_blocks


class ScoringFunction(nn.Module, ABC):
    """Plausibility of triples from the vectors of head, relation and tail; higher is more plausible.

    A subclass states how many real numbers a dimension takes and writes `score`. It may add parameters in
    `__init__` (taking options by keyword, set with `--model-options`). That is enough. Where the score compares one
    vector made of the query with the candidate's, it may also write `query` and set `comparison`: every path then
    takes the fast loops of mmrns/scoring/kernels.py, to the same numbers. tests/scoring checks that all paths of
    every scoring function agree.
    """

    entity_numbers: int = 1
    """Real numbers a dimension of an entity: its vector is entity_numbers * dim wide (2 for complex vectors)."""
    relation_numbers: int = 1
    """Real numbers a dimension of a relation."""
    complex_vectors: ClassVar[bool] = False
    """Vectors 2 * dim wide hold real parts, then imaginary parts: their norms are those of the moduli."""
    comparison: Comparison | None = None
    """How `query` meets a candidate: the score is PRODUCT itself, or gamma - a distance. None: there is no `query`."""

    def __init__(self, dim: int, gamma: float) -> None:
        """Keep the dimension d and the margin gamma of distance scores."""
        super().__init__()
        self.dim = dim
        self.gamma = gamma
        self.initial_range = (gamma + 2.0) / dim
        """Embeddings start uniform in ± this, (gamma + 2) / d, so that distances start near gamma's size (RotatE)."""

    @abstractmethod
    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Score (..., entity width), (..., relation width), (..., entity width), broadcasting: (...)."""

    def query(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        """What candidates are compared with, of anchors (..., w) and relations (..., v): (..., q).

        Args:
            anchor: heads where `direction` is TAIL (tails are asked for), tails where it is HEAD.
            relation: the queries' relations.
            direction: HEAD or TAIL, the side that is asked for.
        """
        raise NotImplementedError

    def squared_norm(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        """|q|² of the `query` vectors of anchors (B, w) and relations (B, v): (B,)."""
        return self.query(anchor, relation, direction).square().sum(-1)

    def candidate(self, entities: Tensor) -> Tensor:
        """What of an entity's vectors (N, w) is compared with a query: by default the vectors themselves."""
        return entities

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Score every tail (N, w) for every query head (B, w), relation (B, v): (B, N)."""
        return self._every(head, relation, tails, TAIL)

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Score every head (N, w) for every query relation (B, v), tail (B, w): (B, N)."""
        return self._every(tail, relation, heads, HEAD)

    def score_relations(self, head: Tensor, tail: Tensor, relations: Tensor) -> Tensor:
        """Score every relation (R, v) for every pair head (B, w), tail (B, w): (B, R)."""
        width = head.shape[1]

        def score(pairs: Tensor, candidates: Tensor) -> Tensor:
            return self.score(pairs[:, None, :width], candidates, pairs[:, None, width:])

        return by_blocks(score, torch.cat([head, tail], dim=1), relations)

    def score_answers(self, anchor: Tensor, relation: Tensor, answer: Tensor, direction: int) -> Tensor:
        """`score` with the sides named by what is given and what is asked for, broadcasting: (...)."""
        if self.comparison is PRODUCT:  # a query once, however many answers it has
            return (self.query(anchor, relation, direction) * self.candidate(answer)).sum(-1)
        return self.score(anchor, relation, answer) if direction == TAIL else self.score(answer, relation, anchor)

    def score_rows(self, anchor: Tensor, relation: Tensor, table: Tensor, rows: Tensor, direction: int) -> Tensor:
        """Score rows (B, n) of a table (N, w) as answers of B queries: (B, n)."""
        if self.comparison is None:
            return self.score_answers(anchor[:, None], relation[:, None], F.embedding(rows, table), direction)
        query = self.query(anchor, relation, direction)
        return self._of_comparison(self.comparison.rows(query, self.candidate(table), rows))

    def squared_moduli(self, vectors: Tensor) -> Tensor:
        """Squares of the numbers of vectors (..., width), of moduli where they are complex: (..., dim) then."""
        if self.complex_vectors and vectors.shape[-1] == 2 * self.dim:
            real, imaginary = vectors.chunk(2, dim=-1)
            return real.square() + imaginary.square()
        return vectors.square()

    def _every(self, anchor: Tensor, relation: Tensor, table: Tensor, direction: int) -> Tensor:
        if self.comparison is not None:
            query = self.query(anchor, relation, direction)
            return self._of_comparison(self.comparison.every(query, self.candidate(table)))
        width = anchor.shape[1]

        def score(queries: Tensor, candidates: Tensor) -> Tensor:
            given, by = queries[:, None, :width], queries[:, None, width:]
            return self.score_answers(given, by, candidates, direction)

        return by_blocks(score, torch.cat([anchor, relation], dim=1), table)

    def _of_comparison(self, value: Tensor) -> Tensor:
        return value if self.comparison is PRODUCT else self.gamma - value
