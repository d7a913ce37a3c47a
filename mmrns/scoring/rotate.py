"""RotatE (Sun et al., ICLR 2019): a relation is a rotation in each complex plane."""

import math

import torch
from torch import Tensor

from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.kernels import complex_distance


class RotatE(ScoringFunction):
    """gamma - sum_i |h_i e^(i theta_i) - t_i|; an entity is its real parts, then its imaginary parts."""

    entity_numbers = 2
    complex_vectors = True

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        phase = relation * (math.pi / self.initial_range)
        if head.numel() > tail.numel():  # |h e^(i theta) - t| = |t e^(-i theta) - h|: rotate the smaller side
            head, tail, phase = tail, head, -phase
        cos, sin = torch.cos(phase), torch.sin(phase)
        real, imaginary = head.chunk(2, dim=-1)
        rotated = torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
        return self.gamma - complex_distance(rotated, tail)
