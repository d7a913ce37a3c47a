"""L_kgc and its weights, and the contrastive loss L_con."""

from mmrns.losses.all_entities import binary_cross_entropy_all, cross_entropy_all
from mmrns.losses.contrastive import contrastive_loss
from mmrns.losses.link_prediction import kgc_loss, self_adversarial_weights

__all__ = [
    "binary_cross_entropy_all",
    "contrastive_loss",
    "cross_entropy_all",
    "kgc_loss",
    "self_adversarial_weights",
]
