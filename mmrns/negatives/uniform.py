"""Uniform negatives, filtered: the baseline that every other sampler has to beat."""

import torch
from torch import Tensor

from mmrns.graph.answers import AnswerIndex, Queries
from mmrns.negatives.base import Negatives, NegativeSampler
from mmrns.scoring import KnowledgeGraphModel


def uniform_draws(answers: AnswerIndex, rows: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`number` entities for each row (B,) of known answers, uniform over all that are none of them, with replacement.

    Returns:
        (B, number) entity rows, and (B, number) bool, False where every entity is a known answer.
    """
    remaining = answers.num_entities - answers.count(rows)[:, None]
    uniform = torch.rand(len(rows), number, generator=generator, device=rows.device, dtype=torch.float64)
    ids = answers.complement(rows, (uniform * remaining).long()).clamp_max(answers.num_entities - 1)
    return ids, (remaining > 0).expand_as(ids)


class Uniform(NegativeSampler):
    """Each negative is uniform, with replacement, over the entities that train does not list as an answer."""

    def draw(
        self, queries: Queries, model: KnowledgeGraphModel, step: int, generator: torch.Generator, measure: bool
    ) -> Negatives:
        answers = self.context.answers
        ids, valid = uniform_draws(answers, answers.rows(queries), self.config.num_negatives, generator)
        return Negatives(ids, valid=valid)
