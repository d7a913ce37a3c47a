"""KCA of every candidate under every distinct relation, a block of candidates at a time.

`GuidedBranches.crossed` makes some twenty tensors of candidates x relations x tokens forward and backward, each of
which goes through main memory several times. Here those of one block stay in the cache, forward and backward, and only
what is dear to compute again is kept: projected values and the scale of each slot. Few relations take a shorter way.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmrns.negatives.attention import AttendedTokens, GuidedBranches
from mmrns.negatives.loops import coefficients, coefficients_gradient

# Numbers of a block's largest tensor, candidates x relations x tokens: with its companions, they fit a core's cache.
_BLOCK_NUMBERS = 1 << 18


def crossed_by_blocks(branches: GuidedBranches, tokens: AttendedTokens, gates: Tensor) -> tuple[Tensor, Tensor]:
    """`branches.crossed(tokens, gates)`, (R, N, a), and the squared norms of its vectors, (R, N).

    Args:
        branches: of one modality.
        tokens: of N entities.
        gates: (R, K, V).
    """
    if len(gates) <= branches.shape[1]:
        return _of_few_relations(branches, tokens, gates)
    (keys, count), width = branches.shape, tokens.values.shape[2]
    norm, by_slot = branches.norm_guided, branches.output.weight.unflatten(1, (keys, width))  # (a, K, a)
    weighted = (by_slot * norm.weight).permute(2, 1, 0).flatten(1)  # (a, K a): of a value's channels, by slot
    constant = by_slot.sum(1) @ norm.bias
    affinity, slots_inner = tokens.affinity, keys > count
    if slots_inner:  # the longer of slots and values goes innermost, which is where loops are fast
        gates, affinity = gates.transpose(1, 2), affinity.transpose(1, 2)
    return _Guided.apply(
        tokens.values,
        affinity.contiguous(),
        gates.contiguous(),
        weighted,
        tokens.free + constant,
        slots_inner,
        norm.eps,
    )


def _of_few_relations(branches: GuidedBranches, tokens: AttendedTokens, gates: Tensor) -> tuple[Tensor, Tensor]:
    """The same, coefficients applied to values first and slots projected afterwards, as `paired` does.

    An entity costs R K a (V + a) multiplications so, and K V a (R + a) with its values projected by slot beforehand, so
    this is the cheaper way for R < V relations; and LayerNorm needs no covariances then.
    """
    relations, entities = len(gates), len(tokens.values)
    weights = (gates * tokens.affinity[:, None]).flatten(1, 2)  # (N, R K, V)
    guided = branches.norm_guided(weights @ tokens.values).view(entities, relations, -1)  # (N, R, K a)
    z = (F.linear(guided, branches.output.weight) + tokens.free[:, None]).transpose(0, 1)
    return z, z.square().sum(-1)


class _Block:
    """Candidates of one block: what is cheap to compute again, for values (n, V, a) and affinity by slot (n, K, V)."""

    def __init__(self, values: Tensor, affinity: Tensor) -> None:
        self.centred = values - values.mean(2, keepdim=True)
        self.gram = (self.centred @ self.centred.transpose(1, 2)).div_(values.shape[2])  # (n, V, V)
        self.slots = affinity.transpose(0, 1)  # (K, n, V)
        self.pairs = self.slots[:, :, :, None] * self.slots[:, :, None, :]  # (K, n, V, V)
        self.flat = self.centred.flatten(0, 1)  # (n V, a)


class _Guided(torch.autograd.Function):
    """z = base + sum over slots and values of gate * affinity * scale * projected value; and |z|^2.

    The scale of a slot is 1 / sqrt(<g gᵀ, (m mᵀ) * G> + eps), G the covariance of the values over their channels
    (method.md section 8). With u the gradient to a scale, that to its variance is -u scale³ / 2; the gradients to g, m
    and the centred values follow from that of <g gᵀ, (m mᵀ) * G>, all of whose matrices are symmetric.
    """

    @staticmethod
    def forward(
        context: Any,
        values: Tensor,
        affinity: Tensor,
        gates: Tensor,
        weighted: Tensor,
        base: Tensor,
        slots_inner: bool,
        epsilon: float,
    ) -> tuple[Tensor, Tensor]:
        number, count, width = values.shape
        relations, keys = len(gates), weighted.shape[1] // width
        of_gates = _pairs_of_gates(gates, slots_inner)
        projected = values.new_empty(number, keys * count, width)
        scale = values.new_empty(number, relations, keys)
        z, squares = values.new_empty(relations, number, width), values.new_empty(relations, number)
        for part in _blocks(number, gates.numel()):
            block = _Block(values[part], _by_slot(affinity[part], slots_inner))
            variance = (block.pairs * block.gram).flatten(2) @ of_gates.transpose(1, 2)  # (K, n, R)
            scale[part] = variance.clamp_min_(0).add_(epsilon).rsqrt_().permute(1, 2, 0)
            by_value = (block.flat @ weighted).view(-1, count, keys, width)
            into = projected[part].view(-1, *gates.shape[1:], width)
            into.copy_(by_value if slots_inner else by_value.transpose(1, 2))
            weights = coefficients(gates, affinity[part], scale[part], slots_inner).flatten(2)
            guided = weights @ projected[part]  # (n, R, a)
            torch.add(guided.transpose(0, 1), base[part], out=z[:, part])
            squares[:, part] = torch.linalg.vecdot(z[:, part], z[:, part])
        context.save_for_backward(values, affinity, gates, weighted, projected, scale, z)
        context.slots_inner = slots_inner
        return z, squares

    @staticmethod
    @once_differentiable
    def backward(context: Any, to_z: Tensor, to_squares: Tensor) -> tuple[Tensor | None, ...]:
        values, affinity, gates, weighted, projected, scale, z = context.saved_tensors
        slots_inner = context.slots_inner
        number, count, width = values.shape
        keys = scale.shape[2]
        of_gates = _pairs_of_gates(gates, slots_inner)
        to_values, to_affinity = torch.empty_like(values), torch.empty_like(affinity)
        to_gates, to_of_gates = torch.zeros_like(gates), torch.zeros_like(of_gates)
        to_weighted, to_base = torch.zeros_like(weighted), values.new_empty(number, width)
        for part in _blocks(number, gates.numel()):
            block = _Block(values[part], _by_slot(affinity[part], slots_inner))
            upstream = torch.addcmul(to_z[:, part], z[:, part], to_squares[:, part, None], value=2)
            upstream = upstream.transpose(0, 1).contiguous()  # (n, R, a)
            torch.sum(upstream, 1, out=to_base[part])

            weights = coefficients(gates, affinity[part], scale[part], slots_inner).flatten(2)
            to_projected = (weights.transpose(1, 2) @ upstream).view(-1, *gates.shape[1:], width)
            to_projected = to_projected if slots_inner else to_projected.transpose(1, 2)
            to_projected = to_projected.reshape(-1, keys * width)  # (n V, K a)
            to_weighted.addmm_(block.flat.T, to_projected)
            to_weights = (upstream @ projected[part].transpose(1, 2)).view(-1, *gates.shape)
            to_m, to_scale = coefficients_gradient(
                to_weights, gates, affinity[part], scale[part], to_gates, slots_inner
            )

            to_variance = (to_scale * scale[part].pow(3)).mul_(-0.5).permute(2, 0, 1).contiguous()  # (K, n, R)
            to_pairs = (to_variance @ of_gates).view_as(block.pairs)
            to_of_gates.baddbmm_(to_variance.transpose(1, 2), (block.pairs * block.gram).flatten(2))
            to_gram = (to_pairs * block.pairs).sum(0)
            to_slots = (to_pairs.mul_(block.gram) @ block.slots[..., None])[..., 0].mul_(2).transpose(0, 1)
            to_affinity[part] = to_m + _by_slot(to_slots, slots_inner)
            to_centred = (to_projected @ weighted.T).view(-1, count, width)
            to_centred.baddbmm_(to_gram, block.centred, alpha=2 / width)
            torch.sub(to_centred, to_centred.mean(2, keepdim=True), out=to_values[part])
        slots = _by_slot(gates, slots_inner).transpose(0, 1)  # (K, R, V)
        of_pairs = (to_of_gates.view(*slots.shape, count) @ slots[..., None])[..., 0].mul_(2).transpose(0, 1)
        return to_values, to_affinity, to_gates + _by_slot(of_pairs, slots_inner), to_weighted, to_base, None, None


def _blocks(number: int, of_each: int) -> list[slice]:
    size = max(1, _BLOCK_NUMBERS // max(1, of_each))
    return [slice(start, min(start + size, number)) for start in range(0, number, size)]


def _by_slot(values: Tensor, slots_inner: bool) -> Tensor:
    """(., K, V) of a tensor laid out for the loops, or the other way round."""
    return values.transpose(1, 2) if slots_inner else values


def _pairs_of_gates(gates: Tensor, slots_inner: bool) -> Tensor:
    """g gᵀ of every slot and relation: (K, R, V V)."""
    gates = _by_slot(gates, slots_inner)
    return (gates[:, :, :, None] * gates[:, :, None, :]).flatten(2).transpose(0, 1).contiguous()
