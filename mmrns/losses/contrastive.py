"""L_con, the contrastive loss that trains the sampler's similarities (method.md section 6)."""

import torch
from torch import Tensor


def contrastive_loss(
    positive_similarity: Tensor,
    positive_weight: Tensor,
    negative_similarity: Tensor,
    negative_weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """One modality's weighted multi-positive ratio, a triple at a time.

    l = -log( sum_j p_j exp(sim_j) / sum_n p_n exp(sim_n) ), j over the query's known positives, n over its negatives.

    Args:
        positive_similarity: (B, K) similarity of the true answer to each known positive, itself among them.
        positive_weight: (B, K) weights p_j, 0 where there is none or it lacks the modality.
        negative_similarity: (B, P) similarity of the true answer to each candidate.
        negative_weight: (B, P) weights p_n, 0 for known positives and where the candidate lacks the modality.

    Returns:
        The loss of each triple (B,), 0 where the triple has no positive or no negative in this modality, and a
        (B,) bool of where it has both.
    """
    present = (positive_weight > 0).any(1) & (negative_weight > 0).any(1)
    # exp of a cosine lies in [1/e, e]: no overflow, so the plain sums are exact enough.
    above = (positive_weight * positive_similarity.exp()).sum(1)
    below = (negative_weight * negative_similarity.exp()).sum(1)
    ratio = torch.where(present, below, 1.0).log() - torch.where(present, above, 1.0).log()
    return ratio, present
