"""What the sampler has learnt: how much the relation matters to what it compares."""

import numpy as np
import torch
from numpy.typing import NDArray

from mmrns.analysis.guide import measure
from mmrns.analysis.result import Measure, Options
from mmrns.analysis.spaces import Space
from mmrns.explanation import Explainer

Rows = NDArray[np.int64]

_MOST_ATTENDED = 200


def relation_effect(space: Space, relations: Rows, rows: Rows, options: Options) -> Measure:
    """Angle that a change of relation makes, over that which a change of entity makes (1 - mean cosine of each).

    Args:
        relations: (M,) relations to draw from, e.g. those of train's triples.
        rows: (N,) entities to draw from.
    """
    rng = np.random.default_rng([options.seed, 5])
    entity, other = rows[rng.integers(len(rows), size=(2, options.pairs))]
    here, there = relations[rng.integers(len(relations), size=(2, options.pairs))]
    apart = (here != there) & (entity != other)
    if not apart.any():
        return measure("relation_effect", None, 1.0, 0)
    entity, other, here, there = (part[apart] for part in (entity, other, here, there))
    z = torch.from_numpy(space.paired(entity, here))
    of_relation = 1 - torch.cosine_similarity(z, torch.from_numpy(space.paired(entity, there))).mean()
    of_entity = 1 - torch.cosine_similarity(z, torch.from_numpy(space.paired(other, here))).mean()
    value = float(of_relation / of_entity) if of_entity > 0 else None
    return measure("relation_effect", value, 1.0, len(entity))


def attention_shift(explainer: Explainer, modality: str, options: Options) -> Measure | None:
    """Total variation distance of an entity's guided attention under two relations; None where nothing attends.

    0: the same shares on every token; 1: none in common. Entities with one token have nothing to choose, and are left
    out.
    """
    features = explainer.features
    if features is None or modality not in features.modalities:
        return None
    rng = np.random.default_rng([options.seed, 6])
    relations = explainer.dataset.train[:, 1]
    rows = rng.permutation(np.flatnonzero(features.presence(modality).numpy()))[: min(_MOST_ATTENDED, options.pairs)]
    found = []
    for row in rows.tolist():
        here, there = rng.choice(relations, 2).tolist()
        if here == there:
            continue
        shares = [
            attended.weight_guided
            for relation in (here, there)
            for attended in explainer.attention(row, relation)
            if attended.modality == modality and attended.weight_guided and sum(attended.present) > 1
        ]
        if len(shares) == 2:
            found.append(float(np.abs(np.subtract(shares[0], shares[1])).sum() / 2))
    return measure("attention_shift", float(np.mean(found)), None, len(found)) if found else None
