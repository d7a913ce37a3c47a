"""The passes that matrix products leave over: those of native.cpp where it can be had, and the same in torch."""

from pathlib import Path

import torch
from torch import Tensor

from mmrns.compiled import Loops, split

_LOOPS = Loops(Path(__file__).with_name("native.cpp"))
# A sigmoid, or a gradient, counts as so many multiplications when the rows are shared between threads.
_WORK = 8


def gate_(gates: Tensor, entities: Tensor, z: Tensor, squares: Tensor) -> None:
    """In place of logits (N, w), their sigmoids; z = entities * gates (N, w), and its squared norms (N,)."""
    if _LOOPS.usable(gates, entities):
        ranges = split(len(gates), _WORK * gates.numel())
        _LOOPS.share("gate", ranges, lambda part: (gates, entities, z, squares, gates.shape[1]))
        return
    torch.mul(entities, gates.sigmoid_(), out=z)
    torch.linalg.vecdot(z, z, out=squares)


def gate_gradient_(
    to_z: Tensor, to_squares: Tensor, entities: Tensor, gates: Tensor, to_entities: Tensor, to_bias: Tensor
) -> None:
    """Gradient of `gate_`: in place of the one to z (N, w), that to the logits; adds to the entities' and the bias's.

    Args:
        to_squares: (N,).
        to_entities: (N, w).
        to_bias: (w,), of a bias that is part of the logits.
    """
    if _LOOPS.usable(to_z, entities):
        ranges, width = split(len(to_z), _WORK * to_z.numel()), to_z.shape[1]
        own = [to_bias, *(torch.zeros_like(to_bias) for _ in ranges[1:])]
        _LOOPS.share(
            "gate_gradient", ranges, lambda part: (to_z, to_squares, entities, gates, to_entities, own[part], width)
        )
        for other in own[1:]:
            to_bias += other
        return
    to_z.addcmul_(entities * gates, to_squares[:, None], value=2)
    to_entities.addcmul_(to_z, gates)
    to_z.copy_(torch.ops.aten.sigmoid_backward(to_z.mul_(entities), gates))
    to_bias += to_z.sum(0)


def coefficients(gates: Tensor, affinity: Tensor, scale: Tensor, slots_inner: bool) -> Tensor:
    """gates * affinity * scale, for every entity and relation: (N, R, outer, inner).

    Args:
        gates: (R, outer, inner).
        affinity: (N, outer, inner).
        scale: (N, R, slots), where slots are the inner places if `slots_inner`, else the outer ones.
    """
    if _LOOPS.usable(gates, affinity, scale):
        out = gates.new_empty(len(affinity), *gates.shape)
        ranges = split(len(out), _WORK * out.numel())
        _LOOPS.share("coefficients", ranges, lambda part: (gates, affinity, scale, out, *gates.shape, int(slots_inner)))
        return out
    return gates * affinity[:, None] * _spread(scale, slots_inner)


def coefficients_gradient(
    to_out: Tensor, gates: Tensor, affinity: Tensor, scale: Tensor, to_gates: Tensor, slots_inner: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `coefficients` to the affinity and to the scale; adds to the gates' (R, outer, inner)."""
    if _LOOPS.usable(to_out, gates, affinity, scale):
        to_affinity, to_scale = torch.empty_like(affinity), torch.empty_like(scale)
        ranges = split(len(affinity), _WORK * to_out.numel())
        own = [to_gates, *(torch.zeros_like(to_gates) for _ in ranges[1:])]
        _LOOPS.share(
            "coefficients_gradient",
            ranges,
            lambda part: (
                *(to_out, gates, affinity, scale, own[part], to_affinity, to_scale),
                *(*gates.shape, int(slots_inner)),
            ),
        )
        for other in own[1:]:
            to_gates += other
        return to_affinity, to_scale
    scaled = to_out * _spread(scale, slots_inner)
    to_gates += (scaled * affinity[:, None]).sum(0)
    to_scale = (to_out * gates * affinity[:, None]).sum(2 if slots_inner else 3)
    return (scaled * gates).sum(1), to_scale


def draws_gradient(share: Tensor, draws: Tensor, to_draws: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The recursions of a straight-through gradient; see `mmrns.negatives.gumbel`, whose names these are.

    Args:
        share: a (B, n).
        draws: E of what was drawn (B, n, w), in order.
        to_draws: q, the gradients that reach them (B, n, w).
        mean: (B, w), that of what is never drawn.

    Returns:
        A_l . E_l - C_l (B, n); A (B, w) and C (B, 1) one step beyond the last draw.
    """
    batch, number, width = draws.shape
    if _LOOPS.usable(share, draws, to_draws, mean):
        share, draws, to_draws, mean = (part.contiguous() for part in (share, draws, to_draws, mean))
        to_drawn, summed, summed_c = torch.empty_like(share), torch.empty_like(mean), mean.new_empty(batch, 1)
        _LOOPS.share(
            "draws_gradient",
            split(batch, 4 * draws.numel()),
            lambda part: (share, draws, to_draws, mean, to_drawn, summed, summed_c, number, width),
        )
        return to_drawn, summed, summed_c
    shares, of_draws, gradients = share.unsqueeze(-1).unbind(1), draws.unbind(1), to_draws.unbind(1)
    c: list[Tensor] = [mean] * number
    for i in reversed(range(number)):
        mean = torch.lerp(mean, of_draws[i], shares[i])
        c[i] = torch.linalg.vecdot(gradients[i], mean)[:, None]
    left = torch.ones_like(shares[0])
    summed, summed_c = torch.zeros_like(mean), torch.zeros_like(c[0])
    of_drawn = []
    for i in range(number):
        summed = torch.addcmul(gradients[i], summed, left)
        summed_c = torch.addcmul(c[i], summed_c, left)
        of_drawn.append(torch.linalg.vecdot(summed, of_draws[i])[:, None] - summed_c)
        left = 1 - shares[i]
    return torch.cat(of_drawn, dim=1), summed * left, summed_c * left


def _spread(scale: Tensor, slots_inner: bool) -> Tensor:
    return scale[:, :, None] if slots_inner else scale[..., None]
