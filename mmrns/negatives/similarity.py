"""Cosines between true answers and candidates, and the distribution they give (method.md section 4)."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Similarities:
    """Similarities of B true answers, by modality.

    Attributes:
        to_candidates: modality -> (B, P).
        to_positives: modality -> (B, K); column 0 is the answer itself. What has none takes no part in L_con.
        present: modality -> (P + X,) bool over the pool's rows.
        answers: modality -> (B, a) z of the answers, that are compared.
    """

    to_candidates: dict[str, Tensor]
    to_positives: dict[str, Tensor]
    present: dict[str, Tensor]
    answers: dict[str, Tensor] = field(default_factory=dict)


def cosine(left: Tensor, right: Tensor, epsilon: float) -> Tensor:
    """zᵀz' / (|z| |z'| + epsilon) over the last dimension, broadcasting."""
    return (left * right).sum(-1) / (_norm(left) * _norm(right) + epsilon)


class ByRelation(NamedTuple):
    """Which of R distinct relations each of B rows has, and how to lay rows of one relation side by side.

    Attributes:
        relation: (B,) index into R.
        order: (B,) rows, those of one relation together.
        sizes: how many rows each relation has.
    """

    relation: Tensor
    order: Tensor
    sizes: list[int]

    @classmethod
    def of(cls, relations: Tensor) -> tuple[Tensor, "ByRelation"]:
        """The distinct ones (R,) of the relations (B,) of rows, ascending, and which rows have them."""
        distinct, relation, counts = torch.unique(relations, return_inverse=True, return_counts=True)
        return distinct, cls(relation, torch.argsort(relation, stable=True), counts.tolist())


def cosine_by_relation(
    answers: Tensor, candidates: Tensor, rows: ByRelation, epsilon: float, squares: Tensor | None = None
) -> Tensor:
    """Cosine of each answer with every candidate under the answer's relation: (B, P).

    Args:
        answers: (B, a) z of the true answers.
        candidates: (R, P, a) z of each candidate under each distinct relation.
        rows: the answers' relations.
        epsilon: added to the product of norms.
        squares: (R, P) squared norms of the candidates, where they are known already.

    Rows of one relation are multiplied together, so the (B, P, a) tensor is never built.
    """
    # Under autocast the two may differ, and a product that is written where it belongs is not cast for.
    ordered = answers.index_select(0, rows.order).to(candidates.dtype)
    if candidates.is_cuda:
        products = padded_products(ordered, candidates, rows)
    else:
        products = _ProductsByRelation.apply(ordered, candidates, rows.sizes)
    squares = candidates.square().sum(-1) if squares is None else squares
    return cosine_of_products(products, squares, answers, rows, epsilon)


def padded_products(answers: Tensor, candidates: Tensor, rows: ByRelation) -> Tensor:
    """What `_ProductsByRelation` gives, in one product where a GPU would start one a relation: (B, P)."""
    relation = rows.relation.index_select(0, rows.order)
    begins = torch.searchsorted(relation, torch.arange(len(candidates), device=relation.device))
    place = torch.arange(len(answers), device=relation.device) - begins[relation]
    padded = answers.new_zeros(len(candidates), max(rows.sizes), answers.shape[1])
    return torch.bmm(padded.index_put((relation, place), answers), candidates.transpose(1, 2))[relation, place]


class _ProductsByRelation(torch.autograd.Function):
    """Products of answers (B, a), grouped by relation, with the candidates (R, P, a) under theirs: (B, P).

    By hand, each relation's product is written where it belongs; autograd would gather them, and their gradients, anew.
    """

    @staticmethod
    def forward(context: Any, answers: Tensor, candidates: Tensor, sizes: list[int]) -> Tensor:
        products = answers.new_empty(len(answers), candidates.shape[1])
        for rows, into, z in zip(answers.split(sizes), products.split(sizes), candidates, strict=True):
            torch.mm(rows, z.T, out=into)
        context.save_for_backward(answers, candidates)
        context.sizes = sizes
        return products

    @staticmethod
    @once_differentiable
    def backward(context: Any, to_products: Tensor) -> tuple[Tensor | None, ...]:
        answers, candidates = context.saved_tensors
        to_answers, to_candidates = torch.empty_like(answers), torch.empty_like(candidates)
        groups = [part.split(context.sizes) for part in (answers, to_products, to_answers)]
        for rows, to_rows, into, z, to_z in zip(*groups, candidates, to_candidates, strict=True):
            torch.mm(to_rows, z, out=into)
            torch.mm(to_rows.T, rows, out=to_z)
        return to_answers, to_candidates, None


def cosine_of_products(products: Tensor, squares: Tensor, answers: Tensor, rows: ByRelation, epsilon: float) -> Tensor:
    """Cosines (B, P), of products (B, P) in order, the candidates' squared norms (R, P) and the answers (B, a)."""
    of_candidates = F.embedding(rows.relation, _root(squares))
    return F.embedding(torch.argsort(rows.order), products) / (of_candidates * _norm(answers)[:, None] + epsilon)


def _norm(z: Tensor) -> Tensor:
    """2-norm over the last dimension. Cheaper backward than vector_norm's, and as safe at zero."""
    return _root(z.square().sum(-1))


def _root(squares: Tensor) -> Tensor:
    return (squares + torch.finfo(squares.dtype).tiny).sqrt()


def sampling_distribution(
    similarity: dict[str, Tensor],
    answer_present: dict[str, Tensor],
    candidate_present: dict[str, Tensor],
    temperature: float | Tensor,
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
        temperature: epsilon, a number or a 0-dim tensor.

    Returns:
        p (B, P), rows summing to 1, and modality -> its own softmax (B, P), 0 where a candidate lacks it.
    """
    names = list(similarity)
    first = similarity[names[0]]
    answer_has = torch.stack([answer_present[name] for name in names], dim=1).to(first.dtype)  # (B, M)
    candidate_has = torch.stack([candidate_present[name] for name in names]).to(first.dtype)  # (M, P)
    shared = answer_has @ candidate_has
    share = candidate_has.mean(1)
    # The lowest number, not -inf: a modality that no candidate has would turn its rows, and the gradient, into NaN.
    barred = torch.finfo(first.dtype).min * (1 - candidate_has)

    by_modality = {}
    total = torch.zeros_like(first)
    for number, (name, values) in enumerate(similarity.items()):
        softmax = torch.softmax(_scaled(barred[number], values, temperature), dim=1)
        by_modality[name] = softmax
        total = torch.addcmul(total, softmax, answer_has[:, number, None] * share[number])
    neutral = (shared == 0).to(first.dtype) / first.shape[1]
    p = torch.addcmul(neutral, total, 1 / shared.clamp_min(1))
    return p / p.sum(1, keepdim=True), by_modality


def _scaled(barred: Tensor, values: Tensor, temperature: float | Tensor) -> Tensor:
    """barred + values / temperature; a temperature on a GPU is not waited for."""
    if isinstance(temperature, Tensor):
        return torch.addcmul(barred, values, temperature.reciprocal())
    return torch.add(barred, values, alpha=1 / temperature)


def spread(candidates: Tensor, present: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """What to subtract from z, and then to divide by, so that cosines spread: (R, a) and (R, a).

    Vectors that share a large common part all have cosines near 1, between which no exploration temperature tells.
    `centred` takes the mean of the candidates under each relation away; `standardised` divides by their standard
    deviation in each dimension as well. Both are functions of the pool, and gradients pass through them.

    Args:
        candidates: (R, P, a) z of the candidates under each distinct relation.
        present: (P,) bool, the candidates that have the modality; the others count for nothing.
        kind: "centred" or "standardised".
    """
    weight = present.to(candidates.dtype)
    weight = weight / weight.sum().clamp_min(1)
    mean = torch.einsum("rpa,p->ra", candidates, weight)
    if kind == "centred":
        return mean, torch.ones_like(mean)
    variance = torch.einsum("rpa,p->ra", (candidates - mean[:, None]).square(), weight)
    # A dimension in which all candidates agree says nothing; the floor keeps its gradient finite.
    return mean, (variance + _LEAST_VARIANCE).sqrt()


def standardised(values: Tensor) -> Tensor:
    """Each row (B, P) less its mean, over its standard deviation; 0 where a row is constant."""
    centred = values - values.mean(1, keepdim=True)
    return centred / (_norm(centred)[:, None] / centred.shape[1] ** 0.5 + torch.finfo(values.dtype).eps)


def widened(values: Tensor) -> Tensor:
    """In single precision at least: half has too few digits for a draw's noise, and too small a range for masks."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
