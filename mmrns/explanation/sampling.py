"""The distribution that a run's sampler draws from, over all entities, by the sampler's own functions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrns.config import Config
from mmrns.features import FeatureStore
from mmrns.graph import Dataset
from mmrns.graph.answers import AnswerIndex, Queries
from mmrns.negatives import NegativeSampler, build_sampler
from mmrns.negatives.base import SamplerContext
from mmrns.negatives.exploration import drawn_from_pool, solving_rows
from mmrns.negatives.guard import known_columns
from mmrns.negatives.mmrns import MMRNS
from mmrns.negatives.pool import Pool, draw_distinct
from mmrns.negatives.similarity import Similarities
from mmrns.scoring import KnowledgeGraphModel
from mmrns.training.batches import total_steps

# Candidates whose features are held at once: bounds the memory, and changes no result.
_BLOCK = 4096
# Of the questions and the pool that a target entropy is reached over.
_SEED = 0


@dataclass(frozen=True)
class Spread:
    """What a sampler draws for B questions, over all E entities.

    Attributes:
        likely: (B, E) probability to be the first of the draws by likeness. Rows sum to 1, or to 0 where --guard skips
            all that could be drawn.
        uniform: (B, E) probability of a uniform draw: among the candidates, 0 for known answers.
        drawn: (B, E) mean over all draws: --uniform-share of them are uniform ones, the others likely.
        entropy: (B,) of `likely`, over that of an even distribution over what can be drawn by likeness: 1 is uniform.
        similarity: modality -> (B, C) cosines with the candidates, NaN where a side lacks it.
        epsilon: exploration temperature.
    """

    likely: Tensor
    uniform: Tensor
    drawn: Tensor
    entropy: Tensor
    similarity: dict[str, Tensor]
    epsilon: float


def rebuild_sampler(
    config: Config, dataset: Dataset, features: FeatureStore | None, model: KnowledgeGraphModel
) -> NegativeSampler:
    """The sampler that a run's configuration names, before its weights are read.

    Raises:
        UserError: an unknown sampler, or options that do not fit it.
    """
    widths = model.entities.width, model.relations.embedding_dim
    context = SamplerContext(dataset.answers("train"), features, *widths, total_steps(config, len(dataset.train)))
    return build_sampler(config, context).eval()


@torch.inference_mode()
def distribution(
    sampler: MMRNS, model: KnowledgeGraphModel, queries: Queries, step: int, candidates: Tensor | None = None
) -> Spread:
    """What the sampler draws for B queries at `step`, without known answers, by --guard and --uniform-share.

    Args:
        candidates: rows of C entities, sorted, as a step of training draws a pool of them; None: all.
    """
    config, answers = sampler.config, sampler.context.answers
    p, similarities, pool, epsilon = likeness(sampler, model, queries, step, candidates)
    known = known_columns(answers, answers.rows(queries), pool) | (pool.candidates == queries.answer[:, None])
    guarded = _guarded(sampler, model, queries, similarities, pool, known)
    p, possible = left(p, known, guarded, config.guard_weight)
    uniform = ~known / (~known).sum(1, keepdim=True).clamp_min(1)
    by_likeness = drawn_from_pool(config, sampler.context.progress(step)) / config.num_negatives
    entropy = torch.special.entr(p).sum(1) / possible.sum(1).clamp_min(2).log()
    has, answer = similarities.present, pool.positives[:, :1]
    shown = {
        name: values.masked_fill(~(has[name][answer] & has[name][: pool.size]), torch.nan)
        for name, values in similarities.to_candidates.items()
    }

    def over_entities(values: Tensor) -> Tensor:
        return values.new_zeros(len(values), answers.num_entities).index_copy_(1, pool.candidates, values)

    p, uniform = over_entities(p), over_entities(uniform)
    return Spread(p, uniform, by_likeness * p + (1 - by_likeness) * uniform, entropy, shown, epsilon)


@torch.inference_mode()
def likeness(
    sampler: MMRNS, model: KnowledgeGraphModel, queries: Queries, step: int, candidates: Tensor | None = None
) -> tuple[Tensor, Similarities, Pool, float]:
    """p (B, C) over the candidates before anything is left out; what it is made of; and epsilon.

    p does not depend on the anchors: likeness is judged between answer and candidate, under the relation.
    """
    if candidates is None:
        candidates = torch.arange(sampler.context.answers.num_entities, device=queries.answer.device)
    similarities, pool = _similarities(sampler, model, queries, candidates)
    settled = _reaching_target(sampler, model, queries.direction, step) if sampler.config.entropy_target else None
    nobody = torch.zeros(len(queries.answer), pool.size, dtype=torch.bool, device=candidates.device)
    p, _, epsilon = sampler.distribution(similarities, pool, nobody, None, step, settled)
    return p, similarities, pool, float(epsilon)


def left(p: Tensor, known: Tensor, guarded: Tensor | None, guard_weight: float) -> tuple[Tensor, Tensor]:
    """p (B, C) without what is known, (B, C) bool, the guarded weighed, normalised; and what can be drawn by it."""
    possible = ~known
    # As the sampler does it: where all the mass lies on known answers, what is left is drawn evenly.
    p = p.clamp_min(torch.finfo(p.dtype).tiny) * possible
    if guarded is not None:
        p = torch.where(guarded, guard_weight * p, p)
        possible &= ~guarded | (guard_weight > 0)
    return p / p.sum(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny), possible


def _similarities(
    sampler: MMRNS, model: KnowledgeGraphModel, queries: Queries, candidates: Tensor
) -> tuple[Similarities, Pool]:
    """Of B answers to sorted candidates (C,), block by block."""
    # Centred or standardised vectors depend on all candidates at once.
    rows = _BLOCK if sampler.config.similarity == "cosine" else len(candidates)
    whole = Pool.of(candidates, queries.answer[:, None])
    similarity: dict[str, list[Tensor]] = {}
    to_answers: dict[str, Tensor] = {}
    present: dict[str, Tensor] = {}
    for start in range(0, len(candidates), rows):
        pool = Pool.of(candidates[start : start + rows], queries.answer[:, None])
        found = sampler.similarities(queries, model, pool, model.entities(pool.rows))
        for name, to_candidates in found.to_candidates.items():
            similarity.setdefault(name, []).append(to_candidates)
            to_answers[name] = found.to_positives[name]
            has = present.setdefault(name, torch.zeros_like(whole.rows, dtype=torch.bool))
            has[start : start + pool.size] = found.present[name][: pool.size]
            has[whole.positives[:, 0]] = found.present[name][pool.positives[:, 0]]
    joined = {name: torch.cat(parts, dim=1) for name, parts in similarity.items()}
    return Similarities(joined, to_answers, present), whole


def _guarded(
    sampler: MMRNS, model: KnowledgeGraphModel, queries: Queries, similarities: Similarities, pool: Pool, known: Tensor
) -> Tensor | None:
    if sampler.config.guard == "none":
        return None
    vectors, anchors = model.entities(pool.rows), model.entities(queries.anchor)
    return sampler.guarded(queries, model, pool, vectors, anchors, similarities, known)


def _reaching_target(sampler: MMRNS, model: KnowledgeGraphModel, direction: int, step: int) -> float | Tensor:
    """Epsilon at which the target entropy is reached as in training: over questions of train, and a pool."""
    answers = sampler.context.answers
    generator = torch.Generator(answers.device).manual_seed(_SEED)
    queries = _questions_of(answers, direction, len(solving_rows(sampler.config.batch_size, answers.device)), generator)
    candidates = draw_distinct(answers.num_entities, sampler.pool_size, generator)
    similarities, pool = _similarities(sampler, model, queries, candidates)
    known = known_columns(answers, answers.rows(queries), pool)
    guarded = _guarded(sampler, model, queries, similarities, pool, known)
    return sampler.distribution(similarities, pool, known, guarded, step)[2]


def _questions_of(answers: AnswerIndex, direction: int, number: int, generator: torch.Generator) -> Queries:
    """Up to `number` distinct questions of a direction with an answer of each, every such pair equally likely."""
    triples = len(answers.answers) // 2  # those of one direction stand before those of the other
    places = direction * triples + draw_distinct(triples, number, generator)
    rows = torch.searchsorted(answers.offsets, places, right=True) - 1
    anchor, relation, _ = answers.queries(rows).unbind(1)
    return Queries(anchor, relation, answers.answers_at(places), direction)
