"""L_con, the contrastive loss that trains the sampler's similarities (method.md section 6)."""

import torch
from torch import Tensor


def contrastive_loss(similarity: Tensor, positive_weight: Tensor, negative_weight: Tensor) -> tuple[Tensor, Tensor]:
    """One modality's weighted multi-positive ratio, a triple at a time.

    l = -log( sum_j p_j exp(sim_j) / sum_n p_n exp(sim_n) ), j over the query's known positives, n over its negatives.

    Args:
        similarity: (B, K) similarity of the true answer to K entities.
        positive_weight: (B, K) weights p_j, 0 where the entity is no known positive or lacks the modality.
        negative_weight: (B, K) weights p_n, 0 where it is no negative or lacks the modality.

    Returns:
        The loss of each triple (B,), 0 where the triple has no positive or no negative in this modality, and a
        (B,) bool of where it has both.
    """
    # A cosine's exp lies in [1/e, e]: no overflow, so the plain sums are exact enough.
    likeness = similarity.exp()
    above = torch.linalg.vecdot(likeness, positive_weight)
    below = torch.linalg.vecdot(likeness, negative_weight)
    present = (above > 0) & (below > 0)
    ratio = torch.where(present, below, 1.0).log() - torch.where(present, above, 1.0).log()
    return ratio, present
