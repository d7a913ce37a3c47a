"""Cosines of structure without a tensor of relations x candidates x width that is written and read again and again.

The structure gate is the dearest part of a step on a CPU: z_s = t * sigmoid(MLP(concat(r, t))) of every candidate under
every distinct relation. Plain autograd passes over that tensor about twenty times, each time through main memory. Here
one relation is done at a time, forward and backward, so that its candidates stay in the cache; only the gates are kept.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmrns.negatives.attention import StructureGate
from mmrns.negatives.loops import gate_, gate_gradient_
from mmrns.negatives.similarity import ByRelation, cosine_of_products


def gated_cosine(
    gate: StructureGate,
    entities: Tensor,
    relations: Tensor,
    answers: Tensor,
    rows: ByRelation,
    epsilon: float,
    centred: bool = False,
) -> tuple[Tensor, Tensor]:
    """`cosine_by_relation(answers, gate.crossed(entities, relations), rows, epsilon)`: (B, P).

    Also returns (R, w), what was taken away from answers and candidates before: the candidates' mean under each
    relation, or 0.

    Args:
        gate: of the structure.
        entities: (P, w) candidate vectors.
        relations: (R, v) vectors of the distinct relations.
        answers: (B, w) z of the true answers.
        rows: the answers' relations.
        epsilon: added to the product of norms.
        centred: take the candidates' mean away first (`similarity.spread`).
    """
    products, squares, mean = _GatedProducts.apply(
        entities,
        gate.of_entity(entities),
        gate.of_relation(relations),
        gate.output.weight,
        gate.output.bias,
        answers.index_select(0, rows.order),
        rows.sizes,
        gate.leaky_slope,
        centred,
    )
    if centred:
        answers = answers - F.embedding(rows.relation, mean)
    return cosine_of_products(products, squares, answers, rows, epsilon), mean


class _GatedProducts(torch.autograd.Function):
    """Products of answers, grouped by relation, with z of the candidates under theirs (B, P); |z|^2 (R, P).

    And the mean of z (R, w), which is taken away from both beforehand where centred; otherwise it is 0.
    """

    @staticmethod
    def forward(
        context: Any,
        entities: Tensor,
        of_entity: Tensor,
        of_relation: Tensor,
        weight: Tensor,
        bias: Tensor,
        answers: Tensor,
        sizes: list[int],
        slope: float,
        centred: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        number, entities = len(entities), entities.contiguous()
        # One a relation: memory of a tensor of them all would be given back, and its pages paid for again every step.
        gates = [torch.empty_like(entities) for _ in of_relation]
        products, squares = entities.new_empty(len(answers), number), entities.new_empty(len(of_relation), number)
        mean = entities.new_zeros(len(of_relation), entities.shape[1])
        z = torch.empty_like(entities)
        for r, (rows, into) in enumerate(zip(answers.split(sizes), products.split(sizes), strict=True)):
            torch.addmm(bias, F.leaky_relu_(of_entity + of_relation[r], slope), weight.T, out=gates[r])
            gate_(gates[r], entities, z, squares[r])
            if centred:
                torch.mean(z, 0, out=mean[r])
                torch.linalg.vecdot(z.sub_(mean[r]), z, out=squares[r])
                rows = rows - mean[r]
            torch.mm(rows, z.T, out=into)
        context.save_for_backward(entities, of_entity, of_relation, weight, answers, mean, *gates)
        context.sizes, context.slope, context.centred = sizes, slope, centred
        return products, squares, mean

    @staticmethod
    @once_differentiable
    def backward(context: Any, to_products: Tensor, to_squares: Tensor, to_mean: Tensor) -> tuple[Tensor | None, ...]:
        entities, of_entity, of_relation, weight, answers, mean, *gates = context.saved_tensors
        sizes = context.sizes
        to_entities, to_squares = torch.zeros_like(entities), to_squares.contiguous()
        transposed = weight.new_zeros(weight.shape[1], len(weight))  # of the weight's: the faster product
        to_bias, to_answers = weight.new_zeros(len(weight)), torch.empty_like(answers)
        to_of_entity, to_of_relation = torch.zeros_like(of_entity), torch.zeros_like(of_relation)
        z, to_z, nothing = torch.empty_like(entities), torch.empty_like(entities), torch.zeros_like(to_squares[0])
        parts = zip(answers.split(sizes), to_products.split(sizes), to_answers.split(sizes), strict=True)
        for r, (rows, to_rows, into) in enumerate(parts):
            torch.mul(entities, gates[r], out=z)
            if context.centred:
                z.sub_(mean[r])
                rows = rows - mean[r]
            torch.mm(to_rows, z, out=into)
            torch.mm(to_rows.T, rows, out=to_z)
            of_squares = to_squares[r]
            if context.centred:  # every answer and candidate was less the mean, which is that of the candidates
                to_z.addcmul_(z, of_squares[:, None], value=2)
                to_z += (to_mean[r] - into.sum(0) - to_z.sum(0)) / len(z)
                of_squares = nothing
            gate_gradient_(to_z, of_squares, entities, gates[r], to_entities, to_bias)
            hidden = F.leaky_relu_(of_entity + of_relation[r], context.slope)
            transposed.addmm_(hidden.T, to_z)
            # leaky_relu keeps signs, so its output tells its input's.
            to_hidden = torch.ops.aten.leaky_relu_backward(to_z @ weight, hidden, context.slope, False)
            to_of_entity += to_hidden
            torch.sum(to_hidden, 0, out=to_of_relation[r])
        return to_entities, to_of_entity, to_of_relation, transposed.T, to_bias, to_answers, None, None, None
