"""L_con, the contrastive loss that trains the sampler's similarities (method.md section 6)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmrns.compiled import Loops, split

_LOOPS = Loops(Path(__file__).with_name("native.cpp"))


def contrastive_loss(
    similarity: Tensor, positive: Tensor, negative: Tensor, present: Tensor, positive_weight: float
) -> tuple[Tensor, Tensor]:
    """One modality's weighted multi-positive ratio, a triple at a time.

    l = -log( sum_j p_j exp(sim_j) / sum_n p_n exp(sim_n) ), j over the query's known positives, n over its negatives.

    Args:
        similarity: (B, K) similarity of the true answer to K entities.
        positive: (B, K) bool, the known positives.
        negative: (B, K) weights p_n, 0 where an entity is no negative. No gradient reaches them.
        present: (B, K) bool, the entities that have the modality; the others count for nothing.
        positive_weight: p_j, the same for all.

    Returns:
        The loss of each triple (B,), 0 where the triple has no positive or no negative in this modality, and a
        (B,) bool of where it has both.
    """
    above, below = _Sums.apply(similarity, positive, negative, present)
    both = (above > 0) & (below > 0)
    ratio = torch.where(both, below, 1.0).log() - torch.where(both, positive_weight * above, 1.0).log()
    return ratio, both


class _Sums(torch.autograd.Function):
    """exp(sim) summed over the positives, and over the negatives with their weights: (B,) and (B,).

    A cosine's exp lies in [1/e, e]: no overflow, so the plain sums are exact enough.
    """

    @staticmethod
    def forward(
        context: Any, similarity: Tensor, positive: Tensor, negative: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        likeness = similarity.exp()
        context.save_for_backward(likeness, positive, negative, present)
        if _LOOPS.usable(likeness, negative):
            sums = likeness.new_empty(2, len(likeness))
            parts = tuple(part.contiguous() for part in (likeness, positive, negative, present))
            ranges = split(len(likeness), likeness.numel())
            _LOOPS.share("ratio_sums", ranges, lambda _: (*parts, sums[0], sums[1], likeness.shape[1]))
            return sums[0], sums[1]
        likeness = likeness * present
        return torch.where(positive, likeness, 0.0).sum(1), (likeness * negative).sum(1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, to_above: Tensor, to_below: Tensor) -> tuple[Tensor | None, ...]:
        likeness, positive, negative, present = context.saved_tensors
        if _LOOPS.usable(likeness, negative):
            to_similarity = torch.empty_like(likeness, memory_format=torch.contiguous_format)
            saved = (to_above, to_below, likeness, positive, negative, present)
            parts = tuple(part.contiguous() for part in saved)
            ranges = split(len(likeness), likeness.numel())
            _LOOPS.share("ratio_gradient", ranges, lambda _: (*parts, to_similarity, likeness.shape[1]))
            return to_similarity, None, None, None
        to_likeness = torch.addcmul(to_above[:, None] * positive, to_below[:, None], negative) * present
        return likeness * to_likeness, None, None, None
