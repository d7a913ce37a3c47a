"""L_kgc and its weights, and the contrastive loss L_con."""

from mmrns.losses.contrastive import contrastive_loss
from mmrns.losses.link_prediction import kgc_loss, self_adversarial_weights

__all__ = ["contrastive_loss", "kgc_loss", "self_adversarial_weights"]
