"""ComplEx (Trouillon et al., ICML 2016): DistMult over complex vectors, the tail conjugated."""

import torch
from torch import Tensor

from mmrns.graph.answers import HEAD, TAIL
from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.kernels import PRODUCT


class ComplEx(ScoringFunction):
    """Re sum_i h_i r_i conj(t_i); every vector is its real parts, then its imaginary parts."""

    entity_numbers = relation_numbers = 2
    complex_vectors = True
    comparison = PRODUCT

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return (self.query(head, relation, TAIL) * tail).sum(-1)

    def query(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        (a_re, a_im), (r_re, r_im) = anchor.chunk(2, dim=-1), relation.chunk(2, dim=-1)
        r_im = r_im if direction == TAIL else -r_im
        return torch.cat([a_re * r_re - a_im * r_im, a_re * r_im + a_im * r_re], dim=-1)

    def squared_norm(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        return (self.squared_moduli(anchor) * self.squared_moduli(relation)).sum(-1)

    def score_relations(self, head: Tensor, tail: Tensor, relations: Tensor) -> Tensor:
        return self.query(tail, head, HEAD) @ relations.T  # the real product of r with conj(h) t
