"""The input projection of tokens, a block at a time: features are widened where they are used."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Tokens of a block: in single precision, with some hundreds of numbers each, they fit the caches of a core.
_BLOCK_TOKENS = 1536


def project_tokens(tokens: Tensor, present: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    """LeakyReLU(e W + b) of frozen tokens, zero where one is absent: (N, n, a).

    Args:
        tokens: (N, n, D), of any precision; they receive no gradient.
        present: (N, n) bool; only these tokens are projected.
        weight: (a, D).
        bias: (a,).
        slope: of the LeakyReLU, positive.
    """
    flat = _Projected.apply(tokens.flatten(0, 1), present.flatten(), weight, bias, slope)
    return flat.unflatten(0, present.shape)


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tokens: Tensor, present: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
        out = weight.new_zeros(len(tokens), len(weight))
        for part, block, at in _packed(tokens, present, weight.dtype):
            if at is None:
                F.leaky_relu_(torch.addmm(bias, block, weight.T, out=out[part]), slope)
            else:
                out[part].index_copy_(0, at, F.leaky_relu_(torch.addmm(bias, block, weight.T), slope))
        context.save_for_backward(tokens, present, weight, out)
        context.slope = slope
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, to_out: Tensor) -> tuple[Tensor | None, ...]:
        tokens, present, weight, out = context.saved_tensors
        to_weight, to_bias = torch.zeros_like(weight), weight.new_zeros(len(weight))
        for part, block, at in _packed(tokens, present, weight.dtype):
            # leaky_relu keeps signs, so its output tells its input's.
            to_logits = torch.ops.aten.leaky_relu_backward(to_out[part], out[part], context.slope, False)
            to_logits = to_logits if at is None else to_logits.index_select(0, at)
            to_weight.addmm_(to_logits.T, block)
            to_bias += to_logits.sum(0)
        return None, None, to_weight, to_bias, None


def _packed(tokens: Tensor, present: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Blocks: where they lie, the tokens that are present, and their places within, None where that is all."""
    for start in range(0, len(tokens), _BLOCK_TOKENS):
        part = slice(start, min(start + _BLOCK_TOKENS, len(tokens)))
        at = present[part].nonzero()[:, 0]
        if len(at) == part.stop - part.start:
            yield part, tokens[part].to(dtype), None
        else:
            yield part, tokens[part].index_select(0, at).to(dtype), at
