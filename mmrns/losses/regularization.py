"""Penalties on the vectors of triples, which keep embeddings small."""

from collections.abc import Callable

import torch
from torch import Tensor


def n3_penalty(anchor: Tensor, relation: Tensor, answer: Tensor) -> Tensor:
    """|a|_3³ + |r|_3³ + |t|_3³ summed over triples (Lacroix et al., ICML 2018).

    Args:
        anchor, relation, answer: (B, .) squared moduli of the vectors' numbers.
    """
    parts = [anchor, relation, answer]
    # The smallest positive number keeps the gradient at 0 finite.
    return torch.stack([(part + torch.finfo(part.dtype).tiny).sqrt().pow(3).sum() for part in parts]).sum()


def dura_penalty(anchor: Tensor, relation: Tensor, answer: Tensor) -> Tensor:
    """(|a|² + |t|²) / 2 + 3 (|a r|² + |t r|²) / 2 summed over triples, a r and t r entrywise.

    DURA (Zhang et al., NeurIPS 2020), with the two weights that its authors use for ComplEx: what is small is the
    distance between an answer and its query's vector, from either side, so that like entities keep like vectors.

    Args:
        anchor, relation, answer: (B, d) squared moduli of the vectors' numbers.
    """
    entities = anchor + answer
    return (entities * (0.5 + 1.5 * relation)).sum()


PENALTIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"n3": n3_penalty, "dura": dura_penalty}
"""By the names that --regularizer takes."""
