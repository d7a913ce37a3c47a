"""Masked Gumbel draws without replacement, with a straight-through gradient (method.md sections 5 and 8)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Bytes of drawn vectors that the backward pass takes at once on a CPU.
_BLOCK_BYTES = 1 << 21


def gumbel_top_k(log_p: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `number` of P candidates a row without replacement, from one perturbation and one top-k.

    The largest of log p + g, g ~ Gumbel(0, 1), in descending order, follow the Plackett-Luce law of successive draws
    in proportion to p (Kool et al., ICML 2019).

    Args:
        log_p: (B, P), -inf for a candidate that must not be drawn.

    Returns:
        The perturbed logits s (B, P), with log_p's gradient, and the drawn columns (B, number). A row with fewer than
        `number` candidates left ends in columns whose s is -inf.
    """
    # -log of a uniform is Exp(1); Tensor.exponential_ draws the same several times slower on CPU.
    uniform = torch.rand(log_p.shape, generator=generator, device=log_p.device, dtype=log_p.dtype)
    exponential = uniform.clamp_(min=torch.finfo(log_p.dtype).tiny).log_().neg_()
    perturbed = log_p - exponential.log_()
    return perturbed, perturbed.detach().topk(number, dim=1).indices


def straight_through(perturbed: Tensor, drawn: Tensor, vectors: Tensor, temperature: float, sign: float) -> Tensor:
    """Vectors of the drawn candidates: exact forward, relaxed backward, without a (B, n, P) one-hot.

    The i-th draw is relaxed to y_i = softmax(s / tau) over the candidates not drawn before it, whose mean vector is
    m_i = y_i E = (sum_{j never drawn} e_j E_j + sum_{l >= i} e_l E_l) / D_i, with e = exp(s / tau) and D_i the same
    sum without E. The backward pass is that of y_i E, worked out by hand in `_StraightThrough`.

    Args:
        perturbed: (B, P) s, with gradient; -inf where a candidate cannot be drawn.
        drawn: (B, n) columns in the order drawn.
        vectors: (P, w) candidate vectors E; they receive the gradient of the drawn rows only.
        temperature: tau.
        sign: 1 passes the gradient on to s, -1 reverses it.

    Returns:
        (B, n, w), equal to vectors[drawn].
    """
    # F.embedding carries the gradient of E; the function adds that of s.
    return _StraightThrough.apply(F.embedding(drawn, vectors), perturbed, drawn, vectors.detach(), temperature, sign)


class _StraightThrough(torch.autograd.Function):
    """The identity on the drawn vectors, with the gradient of the relaxed draws to the logits.

    With q_i the gradient that reaches draw i and c_i = q_i . m_i, the derivative to logit j is
        sum_i y_ij (q_i . E_j - c_i),
    over all i for a candidate never drawn, over i <= l for the one drawn l-th. A candidate never drawn has
    y_ij = w_j rho_i, with w the softmax over those alone and rho_i their share of D_i; so (B, n, P) is never built,
    and of the pairs of draws only the (B, n, n) products q_i . E_l. All shares are at most 1: nothing overflows.
    """

    @staticmethod
    def forward(
        context: Any, hard: Tensor, perturbed: Tensor, drawn: Tensor, vectors: Tensor, temperature: float, sign: float
    ) -> Tensor:
        context.save_for_backward(hard, perturbed, drawn, vectors)
        context.scales = temperature, sign
        return hard.view_as(hard)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        hard, perturbed, drawn, vectors = context.saved_tensors
        temperature, sign = context.scales
        # Rows are independent; a block of them stays in cache through its three products.
        rows = (
            max(1, _BLOCK_BYTES // (hard.element_size() * hard[0].numel())) if hard.device.type == "cpu" else len(hard)
        )
        blocks = zip(*(part.split(rows) for part in (gradient, hard, perturbed / temperature, drawn)), strict=True)
        to_logits = torch.cat([_relaxed_backward(q, e, s, columns, vectors) for q, e, s, columns in blocks])
        return gradient, to_logits.mul_(sign / temperature), None, None, None, None


def _relaxed_backward(gradient: Tensor, hard: Tensor, logits: Tensor, drawn: Tensor, vectors: Tensor) -> Tensor:
    """Derivative to the logits (B, P) of the relaxed draws, see `_StraightThrough`."""
    lowest = torch.finfo(logits.dtype).min / 2
    of_drawn = logits.gather(1, drawn)
    of_rest = logits.scatter(1, drawn, -torch.inf)
    rest_mass = of_rest.logsumexp(1, keepdim=True)
    later_mass = of_drawn.flip(1).logcumsumexp(1).flip(1)
    mass = torch.logaddexp(rest_mass, later_mass).clamp_min(lowest)  # (B, n): log D_i

    rho = (rest_mass - mass).exp()
    w = (of_rest - rest_mass.clamp_min(lowest)).exp()
    y = (of_drawn[:, None] - mass[..., None]).exp().triu()  # (B, n, n): y_il, l >= i

    # q_i . E_l, and in the last column q_i . (w E): what the draws before it leave of every other candidate.
    products = gradient @ torch.cat([hard, (w @ vectors)[:, None]], dim=1).transpose(1, 2)
    pairs = products[..., :-1]
    c = torch.addcmul((y * pairs).sum(2), rho, products[..., -1])
    to_rest = (rho[:, None] @ gradient)[:, 0] @ vectors.T - torch.linalg.vecdot(rho, c)[:, None]
    to_drawn = (y * (pairs - c[..., None])).sum(1)
    return (w * to_rest).scatter(1, drawn, to_drawn)
