"""Cosines between true answers and candidates, and the distribution they give (method.md section 4)."""

import math

import torch
from torch import Tensor


def cosine(left: Tensor, right: Tensor, epsilon: float) -> Tensor:
    """zᵀz' / (|z| |z'| + epsilon) over the last dimension, broadcasting."""
    norms = torch.linalg.vector_norm(left, dim=-1) * torch.linalg.vector_norm(right, dim=-1)
    return (left * right).sum(-1) / (norms + epsilon)


def cosine_by_relation(answers: Tensor, candidates: Tensor, relation: Tensor, epsilon: float) -> Tensor:
    """Cosine of each answer with every candidate under the answer's relation: (B, P).

    Args:
        answers: (B, a) z of the true answers.
        candidates: (P, R, a) z of each candidate under each distinct relation.
        relation: (B,) index into R.
        epsilon: added to the product of norms.

    Rows of one relation are multiplied together, so the (B, P, a) tensor is never built.
    """
    order = torch.argsort(relation, stable=True)
    sizes = torch.bincount(relation, minlength=candidates.shape[1]).tolist()
    groups = answers[order].split(sizes)
    # unbind, not indexing: its backward is one stack instead of a full-size sum a relation.
    products = torch.cat([rows @ of_relation.T for rows, of_relation in zip(groups, candidates.unbind(1), strict=True)])
    products = products[torch.argsort(order)]
    candidate_norms = torch.linalg.vector_norm(candidates, dim=2).T[relation]
    return products / (torch.linalg.vector_norm(answers, dim=1)[:, None] * candidate_norms + epsilon)


def exploration_temperature(initial: float, step: int) -> float:
    """epsilon = epsilon_0 / (1 + log(step)), step from 1."""
    return initial / (1.0 + math.log(step))


def sampling_distribution(
    similarity: dict[str, Tensor],
    answer_present: dict[str, Tensor],
    candidate_present: dict[str, Tensor],
    temperature: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """p over candidates: the mean over modalities of softmax(sim_m / temperature).

    A modality counts for a pair only where both sides have it. So each modality's softmax runs over the candidates
    that have it and carries their share of the total mass, a candidate's p is the mean over the modalities it shares
    with the answer, and the row is normalised again. Where everything is present this is the plain mean of the paper;
    a candidate without a picture is neither favoured nor shunned for it. A pair that shares nothing gets the mean mass.

    Args:
        similarity: modality -> (B, P).
        answer_present: modality -> (B,) bool.
        candidate_present: modality -> (P,) bool.
        temperature: epsilon.

    Returns:
        log p (B, P), and modality -> log of its softmax (B, P), -inf where a candidate lacks it.
    """
    sizes = next(iter(similarity.values())).shape
    total = next(iter(similarity.values())).new_zeros(sizes)
    shared = torch.zeros_like(total)
    logs: dict[str, Tensor] = {}
    for name, values in similarity.items():
        has = candidate_present[name]
        # Not -inf: a modality that no candidate has would turn its whole row, and then the gradient, into NaN.
        logits = torch.where(has, values / temperature, torch.finfo(values.dtype).min)
        logs[name] = torch.log_softmax(logits, dim=1)
        both = (answer_present[name][:, None] & has).to(values.dtype)
        total = total + both * logs[name].exp() * has.to(values.dtype).mean()
        shared = shared + both
    mean_mass = 1.0 / sizes[1]
    p = torch.where(shared > 0, total / shared.clamp_min(1.0), mean_mass)
    tiny = torch.finfo(p.dtype).tiny
    return (p / p.sum(1, keepdim=True)).clamp_min(tiny).log(), logs


def normalised_entropy(log_p: Tensor) -> Tensor:
    """Entropy of each row (B, P) over the log of its number of outcomes with mass, mean over rows: 1 is uniform."""
    p = log_p.exp()
    outcomes = (p > 0).sum(1).clamp_min(2)
    return (torch.special.entr(p).sum(1) / outcomes.log()).mean()
