"""L_kgc, L_con and its alternatives, cross-entropy over all entities, penalties."""

from collections.abc import Callable
from typing import Any

from mmrns.losses.all_entities import binary_cross_entropy_all, cross_entropy_all
from mmrns.losses.contrastive import contrastive_loss
from mmrns.losses.link_prediction import kgc_loss, sampled_softmax_loss, self_adversarial_weights
from mmrns.losses.metric_learning import (
    infonce_loss,
    margin_loss,
    self_supervised_loss,
    supcon_loss,
    triplet_loss,
)
from mmrns.losses.regularization import PENALTIES

__all__ = [
    "PENALTIES",
    "binary_cross_entropy_all",
    "contrastive_loss",
    "cross_entropy_all",
    "infonce_loss",
    "kgc_loss",
    "losses",
    "margin_loss",
    "sampled_softmax_loss",
    "self_adversarial_weights",
    "self_supervised_loss",
    "supcon_loss",
    "triplet_loss",
]


def losses() -> dict[str, Callable[..., Any]]:
    """Every loss that the package offers, by its name."""
    return {name: globals()[name] for name in __all__ if name.endswith(("_loss", "_all"))}
