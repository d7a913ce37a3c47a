"""RESCAL (Nickel et al., ICML 2011) with block-diagonal matrices, a block free as in MEI (Tran & Takasu, ECAI 2020)."""

from torch import Tensor

from mmrns.graph.answers import TAIL
from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.kernels import PRODUCT


class RESCAL(ScoringFunction):
    """sum_i t_i · R_i h_i, R_i a matrix; a dimension is `block` numbers (4), so dim 1 is RESCAL as published."""

    comparison = PRODUCT

    def __init__(self, dim: int, gamma: float, block: int = 4) -> None:
        super().__init__(dim, gamma)
        if not isinstance(block, int) or block < 1:
            raise ValueError(f"block {block} is not a whole number above 0")
        self.entity_numbers, self.relation_numbers = block, block * block

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return (self.query(head, relation, TAIL) * tail).sum(-1)

    def query(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        # The dimensions go innermost, where loops are fast: a vector holds the first numbers of all blocks first.
        vector = anchor.unflatten(-1, (self.entity_numbers, self.dim))
        matrix = relation.unflatten(-1, (self.entity_numbers, self.entity_numbers, self.dim))
        if direction == TAIL:
            return (matrix * vector.unsqueeze(-3)).sum(-2).flatten(-2)
        return (matrix * vector.unsqueeze(-2)).sum(-3).flatten(-2)
