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


def sampled_softmax_loss(
    positive: Tensor,
    negative: Tensor,
    others: Tensor,
    triple_weights: Tensor,
    valid: Tensor | None = None,
    correction: Tensor | None = None,
) -> Tensor:
    """Mean over triples of -log( exp(positive) / (exp(positive) + M / n sum_i exp(negative_i - c_i)) ).

    The cross-entropy of the answer among itself and the M entities that are no known answers of its query, whose part
    of the sum is estimated from n draws (sampled softmax: Bengio & Senecal, IEEE Trans. Neural Networks 2008).

    Args:
        positive: (B,) scores of the true triples.
        negative: (B, n) scores of their negatives.
        others: (B,) how many entities are no known answers, M.
        triple_weights: (B,) subsampling weights; the mean is weighted by them.
        valid: (B, n) bool; False marks a place where no negative could be drawn, which does not count in n.
        correction: (B, n) c, log of how much more often than by a uniform draw each was drawn. None: 0.
    """
    drawn = negative.shape[1] if valid is None else valid.sum(1).clamp_min(1)
    logits = negative if correction is None else negative - correction
    logits = logits + (others.clamp_min(1) / drawn).to(negative.dtype).log()[:, None]
    if valid is not None:
        logits = logits.masked_fill(~valid, -torch.inf)
    of_triples = torch.logsumexp(torch.cat([positive[:, None], logits], dim=1), dim=1) - positive
    return (triple_weights * of_triples).sum() / triple_weights.sum()
