"""Knowledge-guided cross-modal attention, KCA, and the structure gate (method.md sections 3 and 8)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrns.negatives.projection import project_tokens
from mmrns.negatives.similarity import widened


@dataclass
class AttendedTokens:
    """What KCA knows of N entities before it meets a relation, for one modality.

    Attributes:
        values: (N, V, a) projected tokens of the modality, zero where absent.
        affinity: (N, K, V) M, between the K tokens attended from and the V values; zero where either is absent.
        free: (N, a) the relation-free branch, normalised and projected.
    """

    values: Tensor
    affinity: Tensor
    free: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "AttendedTokens":
        parts = (self.values, self.affinity, self.free)
        if isinstance(rows, slice):
            return AttendedTokens(*(part[rows] for part in parts))
        # index_select, not indexing: its backward adds rows instead of scattering elements.
        return AttendedTokens(*(part.index_select(0, rows) for part in parts))


class GuidedBranches(nn.Module):
    """The two branches of one modality: V value tokens attended from K tokens of the other modality.

    free_k    = sum_v softmax_v(M_kv) e_v          guided_k = sum_v g_kv M_kv e_v,  g = sigmoid(FC(r))
    z         = Linear(flatten(LayerNorm(free) + LayerNorm(guided)))
    """

    def __init__(self, keys: int, values: int, width: int, relation_width: int) -> None:
        super().__init__()
        self.shape = (keys, values)
        self.gate = nn.Linear(relation_width, keys * values)
        self.norm_free = nn.LayerNorm(width)
        self.norm_guided = nn.LayerNorm(width)
        self.output = nn.Linear(keys * width, width)

    def gates(self, relation: Tensor) -> Tensor:
        """g for relation vectors (R, v): (R, K, V)."""
        return torch.sigmoid(self.gate(relation)).unflatten(1, self.shape)

    def attend(self, values: Tensor, present: Tensor, keys: Tensor) -> AttendedTokens:
        """Everything that does not depend on the relation, for values (N, V, a), present (N, V), keys (N, K, a)."""
        affinity = keys @ values.transpose(1, 2)
        # Finite where a whole row is absent: such an entity's output is never used, but must not be NaN.
        logits = affinity.masked_fill(~present[:, None], torch.finfo(affinity.dtype).min)
        free = self.norm_free(torch.softmax(logits, dim=2) @ values)
        return AttendedTokens(values, affinity, self.output(free.flatten(1)))

    def paired(self, tokens: AttendedTokens, gates: Tensor) -> Tensor:
        """z of N (entity, relation) pairs, from tokens of N entities and gates (N, K, V): (N, a)."""
        guided = self.norm_guided((gates * tokens.affinity) @ tokens.values)
        return tokens.free + F.linear(guided.flatten(1), self.output.weight)

    def crossed(self, tokens: AttendedTokens, gates: Tensor) -> Tensor:
        """z of every entity with every relation, from tokens of N entities and gates (R, K, V): (R, N, a).

        The LayerNorm of the guided branch is folded into its coefficients: with V_c the values centred over their
        channels and G = V_c V_cᵀ / a, the variance of slot k is A_k G A_kᵀ, A = g * M. So one product of
        (R, K V) coefficients with (K V, a) projected values an entity gives z, and the (N, R, K, a) tensor of the
        plain formula (`paired`) is never built; nor is any tensor with a batch dimension.
        """
        (keys, count), width = self.shape, tokens.values.shape[2]
        norm, entities, relations = self.norm_guided, len(tokens.values), len(gates)
        centred = tokens.values - tokens.values.mean(2, keepdim=True)
        # Differences of products, whose inverse root has a steep gradient: half precision has neither digits nor range.
        with torch.autocast(centred.device.type, enabled=False):
            scale = self._scale(*(widened(part) for part in (centred, tokens.affinity, gates)))

        by_slot = self.output.weight.unflatten(1, (keys, width))  # (a, K, a)
        weighted = by_slot * norm.weight
        projected = (centred.flatten(0, 1) @ weighted.permute(2, 1, 0).flatten(1)).view(entities, count, keys, width)
        projected = projected.transpose(1, 2).reshape(entities, keys * count, width)
        coefficients = (gates * tokens.affinity[:, None]) * scale[..., None]  # (N, R, K, V)
        guided = coefficients.view(entities, relations, keys * count) @ projected
        constant = by_slot.sum(1) @ norm.bias
        return (guided + (tokens.free + constant)[:, None]).transpose(0, 1)

    def _scale(self, centred: Tensor, affinity: Tensor, gates: Tensor) -> Tensor:
        """1 over the standard deviation of each slot of the guided branch: (N, R, K).

        Args:
            centred: (N, V, a) values less their mean over channels.
            affinity: (N, K, V).
            gates: (R, K, V).
        """
        gram = centred @ centred.transpose(1, 2) / centred.shape[2]
        # Variance, one matrix product a slot: <g_k g_kᵀ, (M_k M_kᵀ) * G>.
        of_gates = (gates[:, :, :, None] * gates[:, :, None, :]).flatten(2).transpose(0, 1)  # (K, R, V V)
        slots = affinity.transpose(0, 1)  # (K, N, V)
        of_entities = (slots[:, :, :, None] * slots[:, :, None, :] * gram).flatten(2)  # (K, N, V V)
        variance = of_entities @ of_gates.transpose(1, 2)  # (K, N, R)
        return torch.rsqrt(variance.clamp_min(0) + self.norm_guided.eps).permute(1, 2, 0)


class CrossModalAttention(nn.Module):
    """KCA over the token features of a graph; positives and negatives share every parameter.

    With one modality only, its tokens attend to one another in place of the missing one's.
    """

    def __init__(self, shapes: dict[str, tuple[int, int]], relation_width: int, width: int, leaky_slope: float) -> None:
        """Build for `shapes` of modality -> (tokens, width of a token)."""
        super().__init__()
        self.leaky_slope = leaky_slope
        self.project = nn.ModuleDict({name: nn.Linear(channels, width) for name, (_, channels) in shapes.items()})
        self.other = {name: next((o for o in shapes if o != name), name) for name in shapes}
        self.branches = nn.ModuleDict(
            {
                name: GuidedBranches(shapes[self.other[name]][0], tokens, width, relation_width)
                for name, (tokens, _) in shapes.items()
            }
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def attend(self, features: dict[str, tuple[Tensor, Tensor]], only: Iterable[str] = ()) -> dict[str, AttendedTokens]:
        """The relation-free part for N entities, from modality -> ((N, n, D) tokens, (N, n) present).

        `only` names the modalities that are asked for; all by default. The others are still attended from.
        """
        wanted = list(only) or list(features)
        needed = {*wanted, *(self.other[name] for name in wanted)}
        hidden = {name: self._hidden(name, *features[name]) for name in needed}
        return {
            name: self.branch(name).attend(hidden[name], features[name][1], hidden[self.other[name]]) for name in wanted
        }

    def gates(self, relation: Tensor, only: Iterable[str] = ()) -> dict[str, Tensor]:
        """Gates of relation vectors (R, v): modality -> (R, K, V)."""
        return {name: self.branch(name).gates(relation) for name in (list(only) or self.project)}

    def crossed(self, tokens: dict[str, AttendedTokens], gates: dict[str, Tensor]) -> dict[str, Tensor]:
        """z of N entities under R relations: modality -> (R, N, a)."""
        return {name: self.branch(name).crossed(tokens[name], gates[name]) for name in tokens}

    def paired(self, tokens: dict[str, AttendedTokens], gates: dict[str, Tensor]) -> dict[str, Tensor]:
        """z of N entities, each under the relation at the same place: modality -> (N, a)."""
        return {name: self.branch(name).paired(tokens[name], gates[name]) for name in tokens}

    def _hidden(self, name: str, tokens: Tensor, present: Tensor) -> Tensor:
        """LeakyReLU(e W + b), zero where absent: (N, n, a)."""
        project = self.project[name]
        assert isinstance(project, nn.Linear)
        if tokens.is_cuda or torch.is_autocast_enabled("cpu"):  # counting the present ones would wait for the GPU
            return F.leaky_relu(project(tokens), self.leaky_slope) * present[..., None]
        return project_tokens(tokens, present, project.weight, project.bias, self.leaky_slope)

    def branch(self, name: str) -> GuidedBranches:
        """The branches of a modality."""
        branch = self.branches[name]
        assert isinstance(branch, GuidedBranches)
        return branch


class StructureGate(nn.Module):
    """z_s = t * sigmoid(MLP(concat(r, t))), with t the entity's vector; the MLP has one hidden LeakyReLU layer."""

    def __init__(self, entity_width: int, relation_width: int, hidden: int, leaky_slope: float) -> None:
        super().__init__()
        self.leaky_slope = leaky_slope
        self.of_relation = nn.Linear(relation_width, hidden, bias=False)
        self.of_entity = nn.Linear(entity_width, hidden)
        self.output = nn.Linear(hidden, entity_width)
        # Xavier for the first layer as one matrix over concat(r, t). Copied, not viewed: the fused optimisers need each
        # parameter to be contiguous.
        first = nn.init.xavier_normal_(torch.empty(hidden, relation_width + entity_width))
        with torch.no_grad():
            self.of_relation.weight.copy_(first[:, :relation_width])
            self.of_entity.weight.copy_(first[:, relation_width:])
        nn.init.xavier_normal_(self.output.weight)
        nn.init.zeros_(self.of_entity.bias)
        nn.init.zeros_(self.output.bias)

    def crossed(self, entities: Tensor, relations: Tensor) -> Tensor:
        """Every entity (N, w) under every relation (R, v): (R, N, w)."""
        return self._gated(entities, self.of_entity(entities) + self.of_relation(relations)[:, None])

    def paired(self, entities: Tensor, relations: Tensor) -> Tensor:
        """Each entity (N, w) under the relation (N, v) at the same place: (N, w)."""
        return self._gated(entities, self.of_entity(entities) + self.of_relation(relations))

    def _gated(self, entities: Tensor, hidden: Tensor) -> Tensor:
        return entities * torch.sigmoid(self.output(F.leaky_relu(hidden, self.leaky_slope)))
