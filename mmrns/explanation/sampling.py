"""The distribution that a run's sampler draws from, over all entities, by the sampler's own functions."""

import torch
from torch import Tensor

from mmrns.config import Config
from mmrns.features import FeatureStore
from mmrns.graph import Dataset
from mmrns.graph.answers import TAIL, AnswerIndex, Queries
from mmrns.negatives import NegativeSampler, build_sampler
from mmrns.negatives.base import SamplerContext
from mmrns.negatives.mmrns import MMRNS
from mmrns.negatives.pool import Pool
from mmrns.negatives.similarity import Similarities
from mmrns.scoring import KnowledgeGraphModel
from mmrns.training.batches import total_steps

# Candidates whose features are held at once: bounds the memory, and changes no result.
_BLOCK = 4096


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
    sampler: MMRNS,
    model: KnowledgeGraphModel,
    relation: Tensor,
    answer: Tensor,
    step: int,
    candidates: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor], float]:
    """p over E candidates, before known answers are masked, for B (relation, answer) pairs at `step`.

    Candidates are all entities, or the rows given, sorted, as in a step of training, which draws a pool of them.
    p does not depend on the anchor: likeness is judged between the answer and a candidate, under the relation. It is
    what --guard and --uniform-share are applied to; a target entropy is reached over these B pairs, where training
    reaches it over a batch and a pool.

    Returns:
        p (B, E) summing to 1 in each row, modality -> cosines (B, E) with NaN where a side lacks it, and epsilon.
    """
    if candidates is None:
        candidates = torch.arange(sampler.context.answers.num_entities, device=answer.device)
    # Centred or standardised vectors depend on all candidates at once.
    rows = _BLOCK if sampler.config.similarity == "cosine" else len(candidates)
    queries = Queries(answer, relation, answer, TAIL)
    whole = Pool.of(candidates, answer[:, None])
    similarity: dict[str, list[Tensor]] = {}
    present: dict[str, Tensor] = {}
    for start in range(0, len(candidates), rows):
        pool = Pool.of(candidates[start : start + rows], answer[:, None])
        found = sampler.similarities(queries, model, pool, model.entities(pool.rows))
        for name, to_candidates in found.to_candidates.items():
            similarity.setdefault(name, []).append(to_candidates)
            has = present.setdefault(name, torch.zeros_like(whole.rows, dtype=torch.bool))
            has[start : start + pool.size] = found.present[name][: pool.size]
            has[whole.positives[:, 0]] = found.present[name][pool.positives[:, 0]]
    similarities = Similarities({name: torch.cat(parts, dim=1) for name, parts in similarity.items()}, {}, present)
    itself = candidates == answer[:, None]
    p, _, epsilon = sampler.distribution(similarities, whole, itself, None, step)
    shown = {
        name: values.masked_fill(~(present[name][whole.positives[:, :1]] & present[name][: whole.size]), torch.nan)
        for name, values in similarities.to_candidates.items()
    }
    return p, shown, float(epsilon)


def masked(p: Tensor, queries: Queries, known: AnswerIndex) -> tuple[Tensor, Tensor]:
    """p (B, E) with the answers of B queries taken out, the asked and the known, and normalised; and what is left."""
    position, entity = known.pairs(known.rows(queries))
    drawable = torch.ones_like(p, dtype=torch.bool)
    drawable[position, entity] = False
    drawable.scatter_(1, queries.answer[:, None], False)
    # As the sampler does it: where all the mass lies on known answers, what is left is drawn evenly.
    p = p.clamp_min(torch.finfo(p.dtype).tiny) * drawable
    return p / p.sum(1, keepdim=True), drawable
