"""Distances whose backward pass is worth writing by hand; scoring functions share them."""

from typing import Any

import torch
from torch import Tensor


def complex_distance(left: Tensor, right: Tensor) -> Tensor:
    """sum_i |left_i - right_i| of complex vectors held as real parts, then imaginary parts: (...) of (..., 2 d).

    Broadcasts. Cheapest when `left` is the smaller. The gradient at equal numbers, where there is none, is 0.
    """
    return _ComplexDistance.apply(left, right)


class _ComplexDistance(torch.autograd.Function):
    """Four passes over the broadcast difference forward and three backward, where autograd makes about twenty."""

    @staticmethod
    def forward(context: Any, left: Tensor, right: Tensor) -> Tensor:
        difference = left - right
        real, imaginary = difference.chunk(2, dim=-1)
        modulus = torch.hypot(real, imaginary)
        context.save_for_backward(difference, modulus)
        context.shapes = left.shape, right.shape
        return modulus.sum(-1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        difference, modulus = context.saved_tensors
        left_shape, right_shape = context.shapes
        scale = -gradient[..., None] / modulus.clamp_min(torch.finfo(modulus.dtype).tiny)
        halves = difference.unflatten(-1, (2, modulus.shape[-1]))
        to_right = (halves * scale.unsqueeze(-2)).flatten(-2)
        return -to_right.sum_to_size(left_shape), to_right.sum_to_size(right_shape)
