"""Whether a trained sampler does what it is for: are its negatives harder than uniform ones, and does the relation
change what it attends to and whom it finds alike."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmrns.analysis.hardness import NEGLIGIBLE, compare_draws, in_deviations, magnitude
from mmrns.experiments.bootstrap import Difference, difference_of
from mmrns.explanation import Explainer
from mmrns.explanation.attention import attention
from mmrns.explanation.sampling import likeness, rebuild_sampler
from mmrns.graph.answers import TAIL, Queries
from mmrns.negatives.mmrns import MMRNS
from mmrns.report.examples import frequent_relations

_QUESTIONS, _CANDIDATES = 512, 3000
# Bounds the memory on graphs of many entities.
_MOST_SCORES = 20_000_000
_ENTITIES, _RELATIONS, _LIKELIEST = 32, 6, 10
# Of all attention, how much must move between two relations to be called a difference, and a clear one.
_LEAST_SHIFT, _CLEAR_SHIFT = 0.01, 0.05


@dataclass(frozen=True)
class Hardness:
    """Negatives of the trained sampler against uniform ones, over a sample of train's questions.

    Attributes:
        questions: how many; candidates: entities that either may draw, at most.
        expected_score, uniform_score: mean over questions of the model's score of a negative that either draws.
        difference: the first less the second, with its interval over questions.
        effect: the difference over the standard deviation of a uniform draw's scores (within questions).
        above_answer, uniform_above_answer: probability that a drawn negative scores above the true answer.
        entropy: mean entropy over that of a uniform distribution: 1 is uniform.
        held_out, uniform_held_out: probability that a draw is an answer in valid or test, so no negative at all.
        by_question: the difference of each question.
        verdict: what this says, one or two sentences.
    """

    questions: int
    candidates: int
    expected_score: float
    uniform_score: float
    difference: Difference
    effect: float
    above_answer: float
    uniform_above_answer: float
    entropy: float
    held_out: float
    uniform_held_out: float
    by_question: list[float]
    verdict: str


@dataclass(frozen=True)
class RelationEffect:
    """What the relation changes in the sampler's eyes, over pairs of relations for the same entity.

    Attributes:
        entities: how many were looked at; relations: labels of those that were compared.
        shift: modality -> share of the attention that moves from one relation to another (total variation distance).
        initial_shift: the same with a sampler's weights as they start.
        same_likeliest: of the ten likeliest negatives of an answer, share that stays under another relation.
        verdict: what this says, one or two sentences.
    """

    entities: int
    relations: list[str]
    shift: dict[str, float]
    initial_shift: dict[str, float]
    same_likeliest: float
    verdict: str


@torch.inference_mode()
def measure_hardness(explainer: Explainer, seed: int = 0) -> Hardness | None:
    """Compare the run's sampler with uniform draws; None where the sampler does not choose by likeness."""
    sampler, dataset = explainer.sampler, explainer.dataset
    if sampler is None:
        return None
    rng = np.random.default_rng(seed)
    number = len(dataset.entities)
    rows = rng.permutation(len(dataset.train))[: min(_QUESTIONS, max(32, _MOST_SCORES // number))]
    candidates = torch.from_numpy(np.sort(rng.permutation(number)[:_CANDIDATES]))
    draws = compare_draws(explainer, sampler, dataset.train[rows], candidates, at_once=len(rows))
    harder = draws.score - draws.uniform_score
    difference, effect = difference_of(harder), draws.effect
    return Hardness(
        questions=len(rows),
        candidates=len(candidates),
        expected_score=float(draws.score.mean()),
        uniform_score=float(draws.uniform_score.mean()),
        difference=difference,
        effect=effect,
        above_answer=float(draws.above.mean()),
        uniform_above_answer=float(draws.uniform_above.mean()),
        entropy=float(draws.entropy.mean()),
        held_out=float(draws.held_out.mean()),
        uniform_held_out=float(draws.uniform_held_out.mean()),
        by_question=harder.tolist(),
        verdict=_hardness_verdict(difference, effect),
    )


def _hardness_verdict(difference: Difference, effect: float) -> str:
    low, high = difference.low, difference.high
    if low <= 0 <= high:
        return (
            "No: the sampler's negatives are not harder than uniform ones. The interval of the difference, "
            f"{low:+.3f} to {high:+.3f}, holds 0."
        )
    much, size = magnitude(effect), in_deviations(effect)
    if difference.mean < 0:
        return f"No: the sampler's negatives are easier than uniform ones, {size}."
    if much == NEGLIGIBLE:
        return f"Measurably, but {much}: the sampler's negatives are harder than uniform ones {size}."
    return f"Yes, {much}: the sampler's negatives are harder than uniform ones {size}."


@torch.inference_mode()
def measure_relation_effect(explainer: Explainer, seed: int = 0) -> RelationEffect | None:
    """Compare the sampler's attention and likeness under different relations; None without attention."""
    sampler, trained, dataset = explainer.sampler, explainer.trained, explainer.dataset
    features = explainer.features
    if sampler is None or sampler.attention is None or features is None:
        return None
    has = np.all([features.presence(name).cpu().numpy() for name in features.modalities], axis=0)
    entities = np.random.default_rng(seed).permutation(np.flatnonzero(has))[:_ENTITIES]
    relations = np.array(frequent_relations(dataset, _RELATIONS))
    if not len(entities) or len(relations) < 2:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        initial = rebuild_sampler(trained.config, dataset, features, trained.model)
    assert isinstance(initial, MMRNS)
    shift = _shift(explainer, sampler, entities, relations)
    if not shift:
        return None
    likeliest = _likeliest(explainer, sampler, entities, relations)
    same = [
        len(set(of_one) & set(of_other)) / len(of_one)
        for of_entity in likeliest
        for of_one, of_other in itertools.combinations(of_entity, 2)
    ]
    return RelationEffect(
        entities=len(entities),
        relations=[dataset.relations.labels[r] for r in relations],
        shift=shift,
        initial_shift=_shift(explainer, initial, entities, relations),
        same_likeliest=float(np.mean(same)),
        verdict=_relation_verdict(shift),
    )


def _shift(
    explainer: Explainer, sampler: MMRNS, entities: NDArray[np.int64], relations: NDArray[np.int64]
) -> dict[str, float]:
    """Modality -> mean total variation distance of an entity's attention between two relations."""
    found: dict[str, list[float]] = {}
    for entity in entities:
        by_relation: dict[str, list[NDArray[np.float64]]] = {}
        for relation in relations:
            for attended in attention(sampler, explainer.trained.model, int(entity), int(relation)):
                if attended.weight_guided:
                    by_relation.setdefault(attended.modality, []).append(np.asarray(attended.weight_guided))
        for name, weights in by_relation.items():
            pairs = itertools.combinations(weights, 2)
            found.setdefault(name, []).extend(float(np.abs(one - other).sum() / 2) for one, other in pairs)
    return {name: float(np.mean(distances)) for name, distances in found.items()}


def _likeliest(
    explainer: Explainer, sampler: MMRNS, entities: NDArray[np.int64], relations: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(entities, relations, n) the likeliest negatives of each entity as an answer, among a sample of candidates."""
    trained, number = explainer.trained, len(explainer.dataset.entities)
    answer = torch.from_numpy(np.repeat(entities, len(relations)))
    relation = torch.from_numpy(np.tile(relations, len(entities)))
    candidates = torch.from_numpy(np.sort(np.random.default_rng(0).permutation(number)[:_CANDIDATES]))
    queries = Queries(answer, relation, answer, TAIL)  # whatever was given: likeness does not ask for it
    p = likeness(sampler, trained.model, queries, trained.step, candidates)[0]
    p = p.masked_fill(candidates == answer[:, None], -1)
    best = p.topk(min(_LIKELIEST, number - 1)).indices
    return candidates[best].view(len(entities), len(relations), -1).numpy()


def _relation_verdict(shift: dict[str, float]) -> str:
    said = ", ".join(f"{100 * moved:.1f} % of the attention on the {name}" for name, moved in shift.items())
    most = max(shift.values())
    if most < _LEAST_SHIFT:
        return f"No, not to speak of: from one relation to another only {said} moves."
    if most < _CLEAR_SHIFT:
        return f"Hardly: from one relation to another {said} moves."
    return f"Yes: from one relation to another {said} moves."
