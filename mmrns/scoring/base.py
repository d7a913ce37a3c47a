"""What a scoring function is: how wide its vectors are, and one broadcasting `score`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

# Bytes of the largest intermediate of the generic all-entity path: small enough to stay in a CPU core's cache.
_BLOCK_BYTES = 1 << 20


class ScoringFunction(nn.Module, ABC):
    """Plausibility of triples from the vectors of head, relation and tail; higher is more plausible.

    A subclass states how many real numbers a dimension takes and writes `score`. It may add parameters in
    `__init__` (taking options by keyword, set with `--model-options`), and may override `score_tails` /
    `score_heads` with a faster way to the same numbers: tests/scoring checks that all paths of every scoring
    function agree.
    """

    entity_numbers: ClassVar[int] = 1
    """Real numbers a dimension of an entity: its vector is entity_numbers * dim wide (2 for complex vectors)."""
    relation_numbers: ClassVar[int] = 1
    """Real numbers a dimension of a relation."""
    complex_vectors: ClassVar[bool] = False
    """Vectors 2 * dim wide hold real parts, then imaginary parts: their norms are those of the moduli."""

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

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Score every tail (N, w) for every query head (B, w), relation (B, v): (B, N)."""
        return _by_blocks(lambda h, r, t: self.score(h[:, None], r[:, None], t), head, relation, tails)

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Score every head (N, w) for every query relation (B, v), tail (B, w): (B, N)."""
        return _by_blocks(lambda t, r, h: self.score(h, r[:, None], t[:, None]), tail, relation, heads)


def _by_blocks(
    score: Callable[[Tensor, Tensor, Tensor], Tensor], anchor: Tensor, relation: Tensor, candidates: Tensor
) -> Tensor:
    """Fill (B, N) scores so that no intermediate holds more than a block of queries x candidates x width."""
    on_cpu = anchor.device.type == "cpu"
    room = max(1, (_BLOCK_BYTES if on_cpu else 256 * _BLOCK_BYTES) // (4 * candidates.shape[1]))
    rows = max(1, min(len(anchor), room // 64))
    columns = max(1, room // rows)
    out = []
    for start in range(0, len(anchor), rows):
        a, r = anchor[start : start + rows], relation[start : start + rows]
        out.append(torch.cat([score(a, r, block) for block in candidates.split(columns)], dim=1))
    return torch.cat(out) if out else anchor.new_zeros(0, len(candidates))
