"""L_con of a draw: what its positives and negatives are, and how they weigh (method.md section 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrns.config import Config
from mmrns.losses import contrastive_loss
from mmrns.negatives.pool import Pool
from mmrns.negatives.similarity import Similarities


@dataclass(frozen=True)
class DrawMemory:
    """What L_con needs of a draw.

    Attributes:
        pool: the step's entities.
        similarities: of the answers to them.
        known: (B, P) bool, candidates that train lists as answers of the query.
        guarded: (B, P) bool, candidates that the guard takes for likely answers; None without a guard.
        beside: (B, K) bool, positives that are real and not among the candidates.
        drawn: (B, n') candidate columns, and drawable (B, n'), whether there was something to draw; these are the
            first n' of the draw's negatives.
        weight: beta at this step.
    """

    pool: Pool
    similarities: Similarities
    known: Tensor
    guarded: Tensor | None
    beside: Tensor
    drawn: Tensor
    drawable: Tensor
    weight: float


def contrast(memory: DrawMemory, config: Config, num_entities: int, weights: Tensor) -> Tensor:
    """beta L_con: per triple and modality, mean over the modalities that the triple's answer has.

    A drawn entity weighs its self-adversarial weight, any other 1 / |E|; known answers are no negatives, and a guarded
    candidate is one as far as --guard-weight says.

    Args:
        weights: (B, n) self-adversarial weights of the draw.
    """
    pool, similarities = memory.pool, memory.similarities
    weights = weights[:, : memory.drawn.shape[1]]
    elsewhere = 1.0 / num_entities
    negative = torch.full_like(memory.known, elsewhere, dtype=weights.dtype)
    negative = negative.scatter(1, memory.drawn, torch.where(memory.drawable, weights, elsewhere))
    if memory.guarded is not None:
        negative = torch.where(memory.guarded, config.guard_weight * negative, negative)
    negative = torch.cat([torch.zeros_like(memory.beside, dtype=weights.dtype), negative], dim=1)
    positive = torch.cat([memory.beside, memory.known], dim=1)
    negative = negative.masked_fill(positive, 0.0)
    total, count = weights.new_zeros(len(weights)), weights.new_zeros(len(weights))
    for name, to_candidates in similarities.to_candidates.items():
        present = similarities.present[name]
        has = torch.cat([present[pool.positives], present[: pool.size].expand(len(positive), -1)], dim=1)
        has = has & present[pool.positives[:, :1]]
        similarity = torch.cat([similarities.to_positives[name], to_candidates], dim=1)
        loss, counts = contrastive_loss(similarity, (positive & has).to(weights.dtype) * elsewhere, negative * has)
        total, count = total + loss, count + counts
    return memory.weight * (total / count.clamp_min(1)).mean()
