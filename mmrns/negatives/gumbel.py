"""Masked Gumbel draws without replacement, with a straight-through gradient (method.md sections 5 and 8)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrns.negatives.loops import draws_gradient


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


def inclusion(log_p: Tensor, perturbed: Tensor, drawn: Tensor) -> Tensor:
    """log of the probability that each drawn candidate is among those drawn, given the threshold: (B, n).

    The threshold k is the largest perturbed logit that was not drawn. A candidate is drawn when its own exceeds it:
    q_j = 1 - exp(-exp(log p_j - k)). Sums weighed by 1 / q_j estimate those over all candidates without bias (Kool et
    al., ICML 2019, section 4.2; priority sampling, Duffield et al., JACM 2007). Weights 1 / (n p_j), those of draws
    with replacement, are right for p_j far below 1 / n alone.

    Args:
        log_p: (B, P) what was perturbed, -inf for a candidate that must not be drawn.
        perturbed, drawn: of `gumbel_top_k`.
    """
    threshold = perturbed.scatter(1, drawn, -torch.inf).amax(1, keepdim=True)
    above = (log_p.gather(1, drawn) - threshold).clamp_max(torch.finfo(log_p.dtype).max)  # inf: all that could be drawn
    return (-above.exp()).expm1().neg().log()


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

    With q_i the gradient that reaches draw i, m_i = y_i E its mean vector and c_i = q_i . m_i, the derivative to
    logit j is sum_i y_ij (q_i . E_j - c_i), over all i for a candidate never drawn, over i <= l for the one drawn l-th.

    Let a_i be the share of draw i in what remains when it is drawn. Then y_il = a_l (1 - a_i) ... (1 - a_{l-1}), and
    both sums are recursions of convex combinations, which cannot overflow however sharp the distribution is:
        m_i = a_i E_i + (1 - a_i) m_{i+1},      from the mean of what is never drawn backwards;
        A_l = (1 - a_{l-1}) A_{l-1} + q_l,      C_l = (1 - a_{l-1}) C_{l-1} + c_l,   forwards;
        derivative to the l-th drawn = a_l (A_l . E_l - C_l);  to a candidate never drawn, of share w_j among those,
        w_j (A . E_j - C), with A and C one step beyond the last draw.
    Time and memory are those of (B, n, w); nothing of size (B, n, P) or (B, n, n) is built.
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
        logits = perturbed / temperature
        lowest = torch.finfo(logits.dtype).min / 2
        of_drawn = logits.gather(1, drawn)
        of_rest = logits.scatter(1, drawn, -torch.inf)
        rest_mass = of_rest.logsumexp(1, keepdim=True)
        later_mass = of_drawn.flip(1).logcumsumexp(1).flip(1)
        remaining = torch.logaddexp(rest_mass, later_mass).clamp_min(lowest)  # (B, n), log
        share = (of_drawn - remaining).exp()  # a
        share_of_rest = (of_rest - rest_mass.clamp_min(lowest)).exp()  # w

        to_drawn, summed, summed_c = draws_gradient(share, hard, gradient, share_of_rest @ vectors)
        to_rest = (summed @ vectors.T).sub_(summed_c)
        to_logits = (share_of_rest * to_rest).scatter(1, drawn, share * to_drawn)
        return gradient, to_logits.mul_(sign / temperature), None, None, None, None
