"""What KCA looks at: affinities, gates and attention of one entity under relations, by the attention's own layers."""

import torch
from torch import Tensor

from mmrns.explanation.result import Attention
from mmrns.negatives.mmrns import MMRNS
from mmrns.scoring import KnowledgeGraphModel


@torch.inference_mode()
def attention(sampler: MMRNS, model: KnowledgeGraphModel, entity: int, relation: int) -> list[Attention]:
    """KCA of an entity under a relation, an entry for each modality that the sampler compares and the entity has."""
    kca, features = sampler.attention, sampler.context.features
    if kca is None or features is None:
        return []
    row = torch.tensor([entity], device=model.relations.weight.device)
    tokens = {name: features.gather(name, row) for name in features.modalities}
    gates = kca.gates(model.relations(torch.tensor([relation], device=row.device)), only=sampler.pictured)
    found = []
    for name, attended in kca.attend(tokens, only=sampler.pictured).items():
        other = kca.other[name]
        present, slots = tokens[name][1][0], tokens[other][1][0]
        if present.any():
            found.append(_of(name, other, present, slots, attended.affinity[0], gates[name][0]))
    return found


def _of(name: str, other: str, present: Tensor, slots: Tensor, affinity: Tensor, gate: Tensor) -> Attention:
    logits = affinity.masked_fill(~present, torch.finfo(affinity.dtype).min)
    free = torch.softmax(logits, dim=1)
    guided = gate * affinity
    guided = guided / guided.abs().sum(1, keepdim=True).clamp_min(torch.finfo(guided.dtype).tiny)
    used = [values[slots].mean(0).tolist() if slots.any() else [] for values in (free, guided.abs(), gate)]
    return Attention(
        modality=name,
        attended_from=other,
        present=present.tolist(),
        slots=slots.tolist(),
        affinity=affinity.tolist(),
        free=free.tolist(),
        gate=gate.tolist(),
        guided=guided.tolist(),
        weight_free=used[0],
        weight_guided=used[1],
        weight_gate=used[2],
    )
