"""PairRE (Chao et al., ACL 2021): a relation is a pair of vectors, one for each side."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrns.graph.answers import TAIL
from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.kernels import SCALED_MANHATTAN


class PairRE(ScoringFunction):
    """gamma - || h/|h| * r_head - t/|t| * r_tail ||_1; a relation is r_head, then r_tail."""

    relation_numbers = 2
    comparison = SCALED_MANHATTAN

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        of_head, of_tail = relation.chunk(2, dim=-1)
        difference = F.normalize(head, dim=-1) * of_head - F.normalize(tail, dim=-1) * of_tail
        return self.gamma - difference.norm(p=1, dim=-1)

    def query(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        own, other = relation.chunk(2, dim=-1) if direction == TAIL else relation.chunk(2, dim=-1)[::-1]
        return torch.cat([F.normalize(anchor, dim=-1) * own, other], dim=-1)

    def candidate(self, entities: Tensor) -> Tensor:
        return F.normalize(entities, dim=-1)
