"""L_con of a draw: what its positives and negatives are, and how they weigh (method.md section 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrns.config import Config
from mmrns.losses import (
    contrastive_loss,
    infonce_loss,
    margin_loss,
    self_supervised_loss,
    supcon_loss,
    triplet_loss,
)
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

    In the paper's ratio, a drawn entity weighs its self-adversarial weight and any other 1 / |E|. The alternatives
    weigh all alike, and take the mean over the triples that have a positive beside the answer itself. Known answers
    are no negatives; a guarded candidate is one as far as --guard-weight says, and none in the alternatives where that
    is 0.

    Args:
        weights: (B, n) self-adversarial weights of the draw.
    """
    kind = config.contrastive_loss
    if kind == "self-supervised":
        return memory.weight * _views(memory, config)
    pool, similarities = memory.pool, memory.similarities
    elsewhere = 1.0 / num_entities
    positive = torch.cat([memory.beside, memory.known], dim=1)
    negative = _negative_weights(memory, config, elsewhere, weights).masked_fill(positive, 0.0)
    others = positive & ~torch.cat([_first(memory.beside), pool.positives[:, :1] == _columns(memory.known)], dim=1)
    total, count = weights.new_zeros(len(weights)), weights.new_zeros(len(weights))
    for name, to_positives in similarities.to_positives.items():
        present, to_candidates = similarities.present[name], similarities.to_candidates[name]
        has = torch.cat([present[pool.positives], present[: pool.size].expand(len(positive), -1)], dim=1)
        has = has & present[pool.positives[:, :1]]
        similarity = torch.cat([to_positives, to_candidates], dim=1)
        if kind == "ratio":
            loss, counts = contrastive_loss(similarity, positive, negative, has, elsewhere)
        else:
            function, setting = _ALTERNATIVES[kind]
            loss, counts = function(similarity, others & has, (negative > 0) & has, getattr(config, setting))
        total, count = total + loss, count + counts
    of_triples = total / count.clamp_min(1)
    if kind == "ratio":
        return memory.weight * of_triples.mean()
    return memory.weight * of_triples.sum() / (count > 0).sum().clamp_min(1)


_ALTERNATIVES = {
    "infonce": (infonce_loss, "contrastive_temperature"),
    "supcon": (supcon_loss, "contrastive_temperature"),
    "triplet": (triplet_loss, "contrastive_margin"),
    "margin": (margin_loss, "contrastive_margin"),
}


def _negative_weights(memory: DrawMemory, config: Config, elsewhere: float, weights: Tensor) -> Tensor:
    """(B, K + P): 0 for the positives beside the pool, then the candidates' weights as negatives."""
    weights = weights[:, : memory.drawn.shape[1]]
    negative = torch.full_like(memory.known, elsewhere, dtype=weights.dtype)
    negative = negative.scatter(1, memory.drawn, torch.where(memory.drawable, weights, elsewhere))
    if memory.guarded is not None:
        negative = torch.where(memory.guarded, config.guard_weight * negative, negative)
    return torch.cat([torch.zeros_like(memory.beside, dtype=weights.dtype), negative], dim=1)


def _views(memory: DrawMemory, config: Config) -> Tensor:
    """The self-supervised loss of the batch's answers that have both pictures and texts."""
    similarities, answer = memory.similarities, memory.pool.positives[:, 0]
    both = similarities.present["image"][answer] & similarities.present["text"][answer]
    image, text = similarities.answers["image"][both], similarities.answers["text"][both]
    return self_supervised_loss(image, text, answer[both], config.contrastive_temperature)


def _first(beside: Tensor) -> Tensor:
    """The place of the answer itself among (B, K) positives."""
    return (torch.arange(beside.shape[1], device=beside.device) == 0).expand_as(beside)


def _columns(known: Tensor) -> Tensor:
    """Numbers of (B, P) candidates: (1, P)."""
    return torch.arange(known.shape[1], device=known.device)[None]
