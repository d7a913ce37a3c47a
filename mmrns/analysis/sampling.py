"""What the sampler has learnt: how hard its negatives are, and how much the relation matters to what it compares."""

import numpy as np
import torch
from numpy.typing import NDArray

from mmrns.analysis.guide import measure
from mmrns.analysis.result import Hardness, Measure, Options
from mmrns.analysis.spaces import Space
from mmrns.explanation import Explainer
from mmrns.explanation.sampling import distribution
from mmrns.graph.answers import HEAD, TAIL, Queries

Rows = NDArray[np.int64]

# Questions that are looked at together: their distributions are as wide as the graph.
_BLOCK = 32
_MOST_QUESTIONS, _MOST_ATTENDED = 256, 200
# A difference of scores that is this small a part of their spread is none.
_LEAST_DIFFERENCE = 0.02


@torch.inference_mode()
def hardness(explainer: Explainer, options: Options) -> Hardness | None:
    """How hard the sampler's negatives are for the model, over up to 256 train triples, half of them a direction."""
    sampler, model, dataset = explainer.sampler, explainer.trained.model, explainer.dataset
    number = min(_MOST_QUESTIONS, options.pairs, len(dataset.train))
    if sampler is None or not number:
        return None
    rng = np.random.default_rng([options.seed, 4])
    triples = torch.from_numpy(dataset.train[rng.permutation(len(dataset.train))[:number]])
    parts: list[torch.Tensor] = []
    for place, block in enumerate(triples.split(_BLOCK)):
        queries = Queries.of(block, TAIL if place % 2 else HEAD)
        found = distribution(sampler, model, queries, explainer.trained.step)
        uniform, drawn = found.uniform, found.drawn
        scores = model.score_all(queries.anchor, queries.relation, queries.direction).float()
        everything = dataset.answers()
        row, entity = everything.pairs(everything.rows(queries))
        held_out = torch.zeros_like(uniform, dtype=torch.bool)
        held_out[row, entity] = True
        mean = (uniform * scores).sum(1)
        spread = (uniform * (scores - mean[:, None]).square()).sum(1).sqrt()
        parts.append(
            torch.stack(
                [
                    (drawn * scores).sum(1),
                    mean,
                    found.entropy,
                    (drawn * held_out).sum(1),
                    (uniform * held_out).sum(1),
                    spread,
                ],
                dim=1,
            )
        )
    table = torch.cat(parts).double()
    drawn_score, uniform_score, entropies, mass, uniform_mass, spreads = table.mean(0).tolist()
    return Hardness(
        questions=number,
        expected_score=drawn_score,
        uniform_score=uniform_score,
        harder=float((table[:, 0] > table[:, 1]).double().mean()),
        entropy=entropies,
        held_out_mass=mass,
        uniform_held_out_mass=uniform_mass,
        reading=_reading(drawn_score - uniform_score, spreads),
    )


def _reading(difference: float, spread: float) -> str:
    share = difference / spread if spread > 0 else 0.0
    if abs(share) < _LEAST_DIFFERENCE:
        return "the sampler's negatives are as hard as uniform ones: the model scores them alike"
    kind = "harder" if share > 0 else "easier"
    return (
        f"the sampler's negatives are {kind} than uniform ones, by {abs(share):.2f} standard deviations of a "
        "question's scores"
    )


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
