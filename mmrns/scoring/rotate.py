"""RotatE (Sun et al., ICLR 2019): a relation is a rotation in each complex plane."""

import math

import torch
from torch import Tensor

from mmrns.scoring.base import ScoringFunction


class RotatE(ScoringFunction):
    """gamma - sum_i |h_i e^(i theta_i) - t_i|; an entity is its real parts, then its imaginary parts."""

    entity_numbers = 2

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        phase = relation * (math.pi / self.initial_range)
        if head.numel() > tail.numel():  # |h e^(i theta) - t| = |t e^(-i theta) - h|: rotate the smaller side
            head, tail, phase = tail, head, -phase
        cos, sin = torch.cos(phase), torch.sin(phase)
        head_re, head_im = head.chunk(2, dim=-1)
        tail_re, tail_im = tail.chunk(2, dim=-1)
        real = head_re * cos - head_im * sin - tail_re
        imaginary = head_re * sin + head_im * cos - tail_im
        # hypot's gradient at zero is 0 / 0; the smallest number of all, lost in rounding elsewhere, makes it finite.
        return self.gamma - torch.hypot(real + torch.finfo(real.dtype).tiny, imaginary).sum(-1)
