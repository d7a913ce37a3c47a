"""Penalties on the vectors of triples, which keep embeddings small.

Each is a sum over triples, (B, width) vectors of their anchors, relations and answers, posed in one direction.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mmrns.scoring import ScoringFunction

Penalty = Callable[[ScoringFunction, Tensor, Tensor, Tensor, int], Tensor]


def n3_penalty(scoring: ScoringFunction, anchor: Tensor, relation: Tensor, answer: Tensor, direction: int) -> Tensor:
    """|a|_3³ + |r|_3³ + |t|_3³, of moduli where numbers are complex (Lacroix et al., ICML 2018); in any direction."""
    squares = [scoring.squared_moduli(vectors) for vectors in (anchor, relation, answer)]
    # The smallest positive number keeps the gradient at 0 finite.
    return torch.stack([(part + torch.finfo(part.dtype).tiny).sqrt().pow(3).sum() for part in squares]).sum()


def dura_penalty(scoring: ScoringFunction, anchor: Tensor, relation: Tensor, answer: Tensor, direction: int) -> Tensor:
    """(|a|² + |t|²) / 2 + 3 (|q(a, r)|² + |q'(t, r)|²) / 2, q the query's vector and q' that of the other direction.

    DURA (Zhang et al., NeurIPS 2020), with the two weights that its authors use for ComplEx: what is small is the
    distance between an answer and its query's vector, from either side, so that like entities keep like vectors. For
    scoring functions whose score is the product of `query` and the answer.
    """
    own = anchor.square().sum() + answer.square().sum()
    posed = scoring.squared_norm(anchor, relation, direction) + scoring.squared_norm(answer, relation, 1 - direction)
    return 0.5 * own + 1.5 * posed.sum()


PENALTIES: dict[str, Penalty] = {"n3": n3_penalty, "dura": dura_penalty}
"""By the names that --regularizer takes."""
