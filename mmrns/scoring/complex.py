"""ComplEx (Trouillon et al., ICML 2016): DistMult over complex vectors, the tail conjugated."""

import torch
from torch import Tensor

from mmrns.scoring.base import ScoringFunction


class ComplEx(ScoringFunction):
    """Re sum_i h_i r_i conj(t_i); every vector is its real parts, then its imaginary parts."""

    entity_numbers = 2
    complex_vectors = True
    relation_numbers = 2

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return (self._rotated(head, relation) * tail).sum(-1)

    def score_tails(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        return self._rotated(head, relation) @ tails.T

    def score_heads(self, heads: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        real, imaginary = relation.chunk(2, dim=-1)
        return self._rotated(tail, torch.cat([real, -imaginary], dim=-1)) @ heads.T

    def _rotated(self, entity: Tensor, relation: Tensor) -> Tensor:
        (e_re, e_im), (r_re, r_im) = entity.chunk(2, dim=-1), relation.chunk(2, dim=-1)
        return torch.cat([e_re * r_re - e_im * r_im, e_re * r_im + e_im * r_re], dim=-1)
