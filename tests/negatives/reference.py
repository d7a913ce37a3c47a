"""The method written from its equations, slowly and plainly: loops, one-hots, no sharing. Tests compare with this.

Nothing here is imported from mmrns but the parameters of the modules under test, read off their state_dict.
"""

import math

import torch
from torch import Tensor


def linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def layer_norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def leaky_relu(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def kca(
    state: dict[str, Tensor],
    image: Tensor,
    image_present: Tensor,
    text: Tensor,
    text_present: Tensor,
    relation: Tensor,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """Method section 3 for ONE entity and ONE relation: image (n_i, D_i), text (n_t, D_t) -> z_i (a,), z_t (a,)."""
    n_i, n_t = len(image), len(text)
    e_i = leaky_relu(linear(state, "project.image", image), slope) * image_present[:, None]
    e_t = leaky_relu(linear(state, "project.text", text), slope) * text_present[:, None]
    m = e_i @ e_t.T
    g_i = torch.sigmoid(linear(state, "branches.image.gate", relation)).view(n_t, n_i).T
    g_t = torch.sigmoid(linear(state, "branches.text.gate", relation)).view(n_i, n_t)

    def softmax_over(values: Tensor, present: Tensor) -> Tensor:
        if not present.any():
            return torch.full_like(values, 1 / len(values))
        weights = torch.where(present, torch.exp(values - values[present].max()), 0.0)
        return weights / weights.sum()

    image_free = torch.stack([softmax_over(m[:, k], image_present) @ e_i for k in range(n_t)])
    image_guided = (g_i * m).T @ e_i
    text_free = torch.stack([softmax_over(m[k], text_present) @ e_t for k in range(n_i)])
    text_guided = (g_t * m) @ e_t
    z = []
    for name, free, guided in (("image", image_free, image_guided), ("text", text_free, text_guided)):
        both = layer_norm(state, f"branches.{name}.norm_free", free)
        both = both + layer_norm(state, f"branches.{name}.norm_guided", guided)
        z.append(linear(state, f"branches.{name}.output", both.flatten()))
    return z[0], z[1]


def structure(state: dict[str, Tensor], entity: Tensor, relation: Tensor, slope: float) -> Tensor:
    """z_s of one entity vector (w,) under one relation vector (v,)."""
    first = torch.cat([state["of_relation.weight"], state["of_entity.weight"]], dim=1)
    hidden = leaky_relu(first @ torch.cat([relation, entity]) + state["of_entity.bias"], slope)
    return entity * torch.sigmoid(linear(state, "output", hidden))


def cosine(left: Tensor, right: Tensor, epsilon: float) -> Tensor:
    # torch's norm, for its gradient of 0 at 0, which an entity without the modality can reach.
    return (left * right).sum() / (left.norm() * right.norm() + epsilon)


def distribution(
    similarity: dict[str, Tensor], answer_has: dict[str, bool], candidate_has: dict[str, Tensor], temperature: float
) -> Tensor:
    """p over P candidates for ONE answer: section 4, with modalities counted only where both sides have them."""
    number = len(next(iter(similarity.values())))
    by_modality = {}
    for name, values in similarity.items():
        has = candidate_has[name].tolist()
        weights = [math.e ** (v / temperature) if h else 0.0 for v, h in zip(values.tolist(), has, strict=True)]
        total = sum(weights) or 1.0
        by_modality[name] = [sum(has) / number * w / total for w in weights]
    p = []
    for j in range(number):
        shared = [name for name in similarity if answer_has[name] and bool(candidate_has[name][j])]
        p.append(sum(by_modality[name][j] for name in shared) / len(shared) if shared else 1.0 / number)
    return torch.tensor([value / sum(p) for value in p], dtype=torch.float64)


def successive_draws(perturbed: Tensor, drawn: Tensor, vectors: Tensor, temperature: float) -> Tensor:
    """Section 5 for ONE row: draw after draw, a softmax over what remains, one-hot forward and soft backward."""
    remaining = perturbed.clone()
    out = []
    for column in drawn.tolist():
        soft = torch.softmax(remaining / temperature, dim=0)
        one_hot = torch.zeros_like(soft)
        one_hot[column] = 1.0
        out.append((one_hot - soft.detach() + soft) @ vectors)
        mask = torch.zeros_like(remaining, dtype=torch.bool)
        mask[column] = True
        remaining = remaining.masked_fill(mask, -torch.inf)
    return torch.stack(out)


def contrastive(positive: list[tuple[float, Tensor]], negative: list[tuple[float, Tensor]]) -> Tensor:
    """l of ONE triple and modality from (weight, similarity) lists."""
    above = sum(weight * torch.exp(value) for weight, value in positive)
    below = sum(weight * torch.exp(value) for weight, value in negative)
    return -torch.log(torch.as_tensor(above / below))


def kgc(positive: Tensor, negative: Tensor, alpha: float, triple_weights: Tensor) -> Tensor:
    """L_kgc of (B,) positive and (B, n) negative scores."""
    total, weight_sum = torch.zeros((), dtype=positive.dtype), 0.0
    for b in range(len(positive)):
        exponents = [math.e ** (alpha * s) for s in negative[b].tolist()]
        weights = [e / sum(exponents) for e in exponents]
        of_negative = sum(w * torch.log(1 / (1 + torch.exp(s))) for w, s in zip(weights, negative[b], strict=True))
        of_positive = torch.log(1 / (1 + torch.exp(-positive[b])))
        total = total - float(triple_weights[b]) * (of_positive + of_negative) / 2
        weight_sum += float(triple_weights[b])
    return total / weight_sum
