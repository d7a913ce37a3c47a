"""L_kgc, the loss of scores with sampled negatives (method.md section 6; RotatE, section 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def self_adversarial_weights(
    scores: Tensor, temperature: float, valid: Tensor | None = None, correction: Tensor | None = None
) -> Tensor:
    """softmax over a triple's negatives of temperature * score - correction, constant in the backward pass.

    Args:
        scores: (B, n) scores of the negatives.
        temperature: alpha; 0 weighs all alike.
        valid: (B, n) bool; False marks a place where no negative could be drawn, weighed 0.
        correction: (B, n) log of how much more often than by a uniform draw each was drawn. The weighted sum is then a
            self-normalised importance estimate of that over all entities, and not of that over likely ones.

    Returns:
        (B, n), each row summing to 1 (to 0 where no negative is valid).
    """
    logits = scores.detach() * temperature
    if correction is not None:
        logits = logits - correction
    if valid is None:
        return torch.softmax(logits, dim=1)
    weights = torch.softmax(logits.masked_fill(~valid, -torch.inf), dim=1)
    return torch.where(valid, weights, 0.0)  # a row without any valid place is NaN before this


def kgc_loss(positive: Tensor, negative: Tensor, negative_weights: Tensor, triple_weights: Tensor) -> Tensor:
    """Mean over triples of (-log s(positive) - sum_i p_i log s(-negative_i)) / 2, s the logistic function.

    Args:
        positive: (B,) scores of the true triples.
        negative: (B, n) scores of their negatives.
        negative_weights: (B, n) self-adversarial weights p.
        triple_weights: (B,) subsampling weights; the mean is weighted by them.
    """
    of_positive = F.logsigmoid(positive)
    of_negative = (negative_weights * F.logsigmoid(-negative)).sum(1)
    return -(triple_weights * (of_positive + of_negative)).sum() / (2 * triple_weights.sum())
