"""Masked Gumbel draws without replacement, with a straight-through gradient (method.md sections 5 and 8)."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    exponential = torch.empty_like(log_p.detach()).exponential_(generator=generator)
    perturbed = log_p - exponential.log()
    return perturbed, perturbed.detach().topk(number, dim=1).indices


def straight_through(perturbed: Tensor, drawn: Tensor, vectors: Tensor, temperature: float, sign: float) -> Tensor:
    """Vectors of the drawn candidates: exact forward, relaxed backward, without a (B, n, P) one-hot.

    The i-th draw is relaxed to y_i = softmax(s / tau) over the candidates not drawn before it, whose mean vector is
    y_i E = (sum_{j never drawn} e^{s_j} E_j + sum_{l >= i} e^{s_l} E_l) / (the same without E):
    one (B, P) @ (P, w) product for what is never drawn, and a reversed cumulative sum over what is.

    Args:
        perturbed: (B, P) s, with gradient.
        drawn: (B, n) columns in the order drawn.
        vectors: (P, w) candidate vectors E; they receive the gradient of the drawn rows only.
        temperature: tau.
        sign: 1 passes the gradient on to s, -1 reverses it.

    Returns:
        (B, n, w), equal to vectors[drawn].
    """
    hard = F.embedding(drawn, vectors)
    fixed = vectors.detach()
    logits = perturbed / temperature
    finite = logits.detach().masked_fill(logits.detach() == -torch.inf, torch.finfo(logits.dtype).min)
    weights = (logits - finite.amax(1, keepdim=True)).exp()
    of_drawn = weights.gather(1, drawn)
    of_rest = weights.scatter(1, drawn, 0.0)

    def later(values: Tensor) -> Tensor:
        return values.flip(1).cumsum(1).flip(1)

    above = (of_rest @ fixed)[:, None] + later(of_drawn[..., None] * hard.detach())
    below = of_rest.sum(1, keepdim=True) + later(of_drawn)
    relaxed = above / below.clamp_min(torch.finfo(below.dtype).tiny)[..., None]
    return hard + sign * (relaxed - relaxed.detach())
