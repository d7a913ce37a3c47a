"""DistMult (Yang et al., ICLR 2015): a relation weighs each dimension."""

from torch import Tensor

from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.kernels import PRODUCT


class DistMult(ScoringFunction):
    """sum_i h_i r_i t_i."""

    comparison = PRODUCT

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return (head * relation * tail).sum(-1)

    def query(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        return anchor * relation

    def score_relations(self, head: Tensor, tail: Tensor, relations: Tensor) -> Tensor:
        return (head * tail) @ relations.T
