"""Losses over all entities at once, with their gradient computed in the forward pass, a few rows at a time."""

from typing import Any

import torch
from torch import Tensor

# Bytes of scores handled at once: they stay in a core's cache from the first pass over them to the last.
_BLOCK_BYTES = 1 << 20


def cross_entropy_all(scores: Tensor, position: Tensor, answers: Tensor, smoothing: float = 0.0) -> Tensor:
    """1vsAll: sum over (query, answer) pairs of -sum_e q_e log softmax(scores)_e, a scalar.

    The target q of a pair is (1 - smoothing) on its answer and smoothing / E on every entity.

    Args:
        scores: (B, E).
        position, answers: (K,) the pairs: row of `scores`, and entity; pairs are distinct.
        smoothing: share of the target spread over all entities.
    """
    return _AllEntities.apply(scores, position, answers, smoothing, _softmax)


def binary_cross_entropy_all(scores: Tensor, position: Tensor, answers: Tensor, smoothing: float = 0.0) -> Tensor:
    """KvsAll: sum over queries and entities of the binary cross-entropy of sigmoid(scores) with targets y, a scalar.

    y is 1 - smoothing + smoothing * k / E on the k answers of a query and smoothing * k / E elsewhere (ConvE's rule
    spreads what the answers give up). Arguments as in `cross_entropy_all`.
    """
    return _AllEntities.apply(scores, position, answers, smoothing, _logistic)


def _softmax(scores: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """count * logsumexp summed over rows, and its gradient: (), (b, E)."""
    highest = scores.amax(1, keepdim=True)
    exponential = torch.sub(scores, highest).exp_()
    total = exponential.sum(1, keepdim=True)
    value = (count * (highest + total.log())).sum()
    return value, exponential.mul_(count / total)


def _logistic(scores: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """softplus summed over rows, and its gradient: (), (b, E)."""
    return torch.nn.functional.softplus(scores).sum(), torch.sigmoid(scores)


def _by_block(position: Tensor, answers: Tensor, count: Tensor, rows: int) -> list[tuple[Tensor, Tensor]]:
    """The pairs of each block of so many rows: (k,) rows counted within the block, and (k,) answers."""
    if len(count) <= rows:
        return [(position, answers)]
    position, order = position.sort()
    sizes = [int(often.sum()) for often in count.split(rows)]
    return list(zip((position % rows).split(sizes), answers[order].split(sizes), strict=True))


class _AllEntities(torch.autograd.Function):
    """Sum of a partition term of each row, less the targets' share of the scores. Autograd would keep four (B, E)."""

    @staticmethod
    def forward(
        context: Any, scores: Tensor, position: Tensor, answers: Tensor, smoothing: float, partition: Any
    ) -> Tensor:
        num_entities = scores.shape[1]
        # Sums over entities need more digits than half-precision scores have; they are widened a block at a time.
        exact = torch.promote_types(scores.dtype, torch.float32)
        # Counted by a sum: torch.bincount looks at its input, and a GPU would be waited for.
        nothing = torch.zeros(len(scores), dtype=exact, device=scores.device)
        count = nothing.index_add(0, position, torch.ones_like(position, dtype=exact))[:, None]
        # A probability may lie below what fp16 can hold until it is scaled, which is in the backward pass.
        kept = torch.float32 if scores.dtype == torch.float16 else scores.dtype
        gradient = torch.empty_like(scores, dtype=kept)
        value = scores.new_zeros((), dtype=exact)
        rows = max(1, _BLOCK_BYTES // (scores.element_size() * num_entities)) if scores.device.type == "cpu" else 2**30
        blocks = zip(scores.split(rows), count.split(rows), gradient.split(rows), strict=True)
        for (block, often, out), (here, answered) in zip(
            blocks, _by_block(position, answers, count, rows), strict=True
        ):
            block = block.to(exact)
            term, slope = partition(block, often)
            value += term
            if smoothing:
                evenly = often * (smoothing / num_entities)
                value -= (evenly * block).sum()
                slope -= evenly
            # Before it is rounded: near 1, half precision has no number for what a well-fitted answer still lacks.
            slope[here, answered] -= 1 - smoothing
            out.copy_(slope)
        value -= (1 - smoothing) * scores[position, answers].to(exact).sum()
        context.save_for_backward(gradient)
        context.dtype = scores.dtype
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = context.saved_tensors
        return (gradient * gradients[0]).to(context.dtype), None, None, None, None
