"""Alternatives to the paper's L_con, a triple at a time, through pytorch-metric-learning where it has them.

Its losses take embeddings and compare them; here the comparison is made already, under each triple's relation, so the
matrix of similarities is handed to the part of each loss that begins there. No tensor of (B, P, a) is needed.

A query's known answers are its positives, unmarked candidates its negatives. The answer itself is no positive: its
similarity to itself is 1 and teaches nothing. All return the loss of each row (B,), 0 where a row lacks a positive or a
negative, and a (B,) bool of where it has both.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def infonce_loss(similarity: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """InfoNCE, NT-Xent: l = mean over positives p of -log( e^(s_p / t) / (e^(s_p / t) + sum_n e^(s_n / t)) ).

    van den Oord et al. (2018), Chen et al. (ICML 2020). Written out here: NTXentLoss builds a matrix of all positive
    pairs of a batch against all its negative pairs. The tests compare the two.

    Args:
        similarity: (B, M) s, of each true answer to M entities.
        positive, negative: (B, M) bool, disjoint.
        temperature: t.
    """
    logits = similarity / temperature
    # The lowest number, not -inf: a row without a negative would turn its gradient into NaN.
    against = logits.masked_fill(~negative, torch.finfo(logits.dtype).min).logsumexp(1, keepdim=True)
    losses = F.softplus(against - logits)
    present = positive.any(1) & negative.any(1)
    return _mean_over(losses, positive & present[:, None]), present


def supcon_loss(similarity: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """SupCon: l = mean over positives p of -log( e^(s_p / t) / sum over all positives and negatives j of e^(s_j / t) ).

    Khosla et al. (NeurIPS 2020), their L_out; SupConLoss. Arguments as in `infonce_loss`.
    """
    from pytorch_metric_learning.losses import SupConLoss

    present = positive.any(1) & negative.any(1)
    losses = SupConLoss(temperature).mat_based_loss(similarity, _pairs(positive, negative))["loss"]["losses"]
    return _where(present, losses), present


def triplet_loss(similarity: Tensor, positive: Tensor, negative: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Triplet: l = mean over negatives n of max(0, s_n - s_p + m), p the least similar positive.

    Schroff et al. (CVPR 2015); the hardest positive alone, as Hermans et al. (2017) choose it, so that there are as
    many triplets as negatives. TripletMarginLoss.

    Args:
        similarity: (B, M) s, of each true answer to M entities.
        positive, negative: (B, M) bool, disjoint.
        margin: m, by which a positive should be more similar than a negative.
    """
    from pytorch_metric_learning.losses import TripletMarginLoss

    present = positive.any(1) & negative.any(1)
    hardest = similarity.detach().masked_fill(~positive, torch.inf).argmin(1)
    row, other = (negative & present[:, None]).nonzero().unbind(1)
    if not len(row):
        return _where(present, 0), present
    loss = TripletMarginLoss(margin, distance=_as_given())
    losses = loss.compute_loss(similarity, None, (row, hardest[row], other), similarity, None)["loss"]["losses"]
    return _mean_by_row(losses, row, len(similarity)), present


def margin_loss(similarity: Tensor, positive: Tensor, negative: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Margin contrastive: l = mean over positives p of max(0, 1 - s_p) + mean over negatives n of max(0, s_n - m).

    Hadsell et al. (CVPR 2006) with similarities in place of distances, on pairs labelled positive or negative;
    ContrastiveLoss.

    Args:
        similarity: (B, M) s, of each true answer to M entities.
        positive, negative: (B, M) bool, disjoint.
        margin: m, the similarity below which a negative is left alone.
    """
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import ContrastiveLoss

    present = positive.any(1) & negative.any(1)
    pairs = _pairs(positive & present[:, None], negative & present[:, None])
    loss = ContrastiveLoss(pos_margin=1, neg_margin=margin, distance=CosineSimilarity())
    parts = loss.pair_based_loss(similarity, pairs)
    if not len(pairs[0]):
        return _where(present, 0), present
    rows = len(similarity)
    of_positives = _mean_by_row(parts["pos_loss"]["losses"], pairs[0], rows)
    return of_positives + _mean_by_row(parts["neg_loss"]["losses"], pairs[2], rows), present


def self_supervised_loss(image: Tensor, text: Tensor, entity: Tensor, temperature: float) -> Tensor:
    """Self-supervised: a view in pictures x_i and a view in texts y_i of one entity are positive, all else negative.

    l = (-log( e^(x_i y_i / t) / sum_j e^(x_i y_j / t) ) - log( e^(x_i y_i / t) / sum_j e^(x_j y_i / t) )) / 2, with
    cosines, mean over i; rows of one entity are views of the same thing and so positives of one another. CLIP's loss
    (Radford et al., ICML 2021); SupConLoss with entities as labels.

    Args:
        image, text: (N, a) views of N entities.
        entity: (N,) rows of the entities.
        temperature: t.

    Returns:
        A scalar, 0 where there are fewer than two entities.
    """
    from pytorch_metric_learning.losses import SupConLoss
    from pytorch_metric_learning.reducers import MeanReducer

    if len(entity.unique()) < 2:
        return image.new_zeros(())
    loss = SupConLoss(temperature, reducer=MeanReducer())
    # Labels that are one object would be taken for one set of embeddings, whose pairs (i, i) do not count.
    again = entity.clone()
    of_image = loss(image, entity, ref_emb=text, ref_labels=again)
    return (of_image + loss(text, entity, ref_emb=image, ref_labels=again)) / 2


def _as_given() -> Any:
    """A distance of pytorch-metric-learning that takes the matrix of similarities for its own result."""
    from pytorch_metric_learning.distances import CosineSimilarity

    class Given(CosineSimilarity):
        def forward(self, query_emb: Tensor, ref_emb: Tensor | None = None) -> Tensor:
            return query_emb

    return Given()


def _pairs(positive: Tensor, negative: Tensor) -> tuple[Tensor, ...]:
    """Row and column of every positive pair, then of every negative pair."""
    return (*positive.nonzero().unbind(1), *negative.nonzero().unbind(1))


def _where(present: Tensor, losses: Tensor | int) -> Tensor:
    """Losses of rows, 0 where not present; the library says 0 where nothing is."""
    if not isinstance(losses, Tensor):
        return torch.zeros(len(present), device=present.device)
    return torch.where(present, losses, 0.0)


def _mean_over(values: Tensor, where: Tensor) -> Tensor:
    """Mean of each row over some of its columns, 0 without any."""
    return torch.where(where, values, 0.0).sum(1) / where.sum(1).clamp_min(1)


def _mean_by_row(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """Mean of the values (K,) of each row, 0 without any: (rows,)."""
    nothing = values.new_zeros(rows)
    # Counted by a sum: torch.bincount looks at its input, and a GPU would be waited for.
    return nothing.index_add(0, row, values) / nothing.index_add(0, row, torch.ones_like(values)).clamp_min(1)
