"""TransE (Bordes et al., NeurIPS 2013): a relation is a translation."""

import torch
from torch import Tensor

from mmrns.scoring.base import ScoringFunction


class TransE(ScoringFunction):
    """gamma - ||h + r - t||_p, with p = 1 unless `--model-options '{"p": 2}'`."""

    def __init__(self, dim: int, gamma: float, p: float = 1) -> None:
        super().__init__(dim, gamma)
        self.p = float(p)

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return self.gamma - (head + relation - tail).norm(p=self.p, dim=-1)

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        return self.gamma - torch.cdist(head + relation, tails, p=self.p, compute_mode="donot_use_mm_for_euclid_dist")

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return self.gamma - torch.cdist(tail - relation, heads, p=self.p, compute_mode="donot_use_mm_for_euclid_dist")
