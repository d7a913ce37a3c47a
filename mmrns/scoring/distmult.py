"""DistMult (Yang et al., ICLR 2015): a relation weighs each dimension."""

from torch import Tensor

from mmrns.scoring.base import ScoringFunction


class DistMult(ScoringFunction):
    """sum_i h_i r_i t_i."""

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return (head * relation * tail).sum(-1)

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        return (head * relation) @ tails.T

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return (tail * relation) @ heads.T
