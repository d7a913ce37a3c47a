"""RotatE (Sun et al., ICLR 2019): a relation is a rotation in each complex plane."""

import math

import torch
from torch import Tensor

from mmrns.graph.answers import TAIL
from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.kernels import COMPLEX, complex_distance


class RotatE(ScoringFunction):
    """gamma - sum_i |h_i e^(i theta_i) - t_i|; an entity is its real parts, then its imaginary parts."""

    entity_numbers = 2
    complex_vectors = True
    comparison = COMPLEX

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return self.gamma - complex_distance(self.query(head, relation, TAIL), tail)

    def query(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        phase = relation * (math.pi / self.initial_range)
        # |h e^(i theta) - t| = |t e^(-i theta) - h|
        cos, sin = torch.cos(phase), torch.sin(phase) if direction == TAIL else -torch.sin(phase)
        real, imaginary = anchor.chunk(2, dim=-1)
        return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
