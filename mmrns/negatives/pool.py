"""The candidates of a step, gathered once."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Below this share of the entities, distinct draws come from rejection instead of a permutation of them all.
_SPARSE_SHARE = 0.02


def draw_distinct(total: int, number: int, generator: torch.Generator) -> Tensor:
    """`number` distinct integers below `total`, every subset equally likely, sorted: (number,)."""
    device = generator.device
    if number >= total:
        return torch.arange(total, device=device)
    # How many of some draws differ is a number of the GPU's, for which the step would wait.
    if number > total * _SPARSE_SHARE or device.type == "cuda":
        return torch.randperm(total, generator=generator, device=device)[:number].sort().values
    distinct = torch.empty(0, dtype=torch.long, device=device)
    attempt = number + number // 8 + 16
    while len(distinct) < number:
        # The set of values drawn is exchangeable, so a random part of it is a uniform subset.
        distinct = torch.unique(torch.randint(total, (attempt,), generator=generator, device=device))
        attempt *= 2
    keep = torch.randperm(len(distinct), generator=generator, device=device)[:number]
    return distinct[keep].sort().values


@dataclass(frozen=True)
class Pool:
    """The entity rows that a step works on: P candidates, then what the positives' side needs beside them.

    Attributes:
        rows: (P + X,) distinct entity rows; the first `size` are candidates, sorted.
        size: P.
        positives: (B, K) place in `rows` of each query's answer (first) and other known answers.
    """

    rows: Tensor
    size: int
    positives: Tensor

    @classmethod
    def of(cls, candidates: Tensor, positives: Tensor) -> "Pool":
        """Lay sorted candidates (P,) and the entities of (B, K) positives out without repetition."""
        needed, place = torch.unique(positives, return_inverse=True)
        where = torch.searchsorted(candidates, needed).clamp_max(len(candidates) - 1)
        inside = candidates[where] == needed
        where = torch.where(inside, where, len(candidates) + (~inside).cumsum(0) - 1)
        return cls(torch.cat([candidates, needed[~inside]]), len(candidates), where[place])

    @property
    def candidates(self) -> Tensor:
        """(P,) entity rows of the candidates, sorted."""
        return self.rows[: self.size]

    def columns(self, entities: Tensor) -> tuple[Tensor, Tensor]:
        """Candidate columns of entity rows (K,): (K,) columns and a (K,) bool of which are candidates at all."""
        column = torch.searchsorted(self.candidates, entities).clamp_max(self.size - 1)
        return column, self.candidates[column] == entities
