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


def shared_draws(
    answers: AnswerIndex, rows: Tensor, number: int, sharing: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`number` entities for every `sharing` rows (B,) of known answers in turn, uniform over all, with replacement.

    Returns:
        (B, number) entity rows, and (B, number) bool, False where one is a known answer of this row.
    """
    shape = (-(-len(rows) // sharing), number)
    drawn = torch.randint(answers.num_entities, shape, generator=generator, device=rows.device)
    ids = drawn.repeat_interleave(sharing, dim=0)[: len(rows)]
    return ids, ~answers.contains(rows, ids)


class Uniform(NegativeSampler):
    """Each negative is uniform, with replacement, over the entities that train does not list as an answer.

    With --negatives-shared above 1, over all entities, and those that train lists as an answer do not count.
    """

    def draw(
        self, queries: Queries, model: KnowledgeGraphModel, step: int, generator: torch.Generator, measure: bool
    ) -> Negatives:
        answers = self.context.answers
        rows, number, sharing = answers.rows(queries), self.config.num_negatives, self.config.negatives_shared
        if sharing == 1:
            ids, valid = uniform_draws(answers, rows, number, generator)
        else:
            ids, valid = shared_draws(answers, rows, number, sharing, generator)
        return Negatives(ids, valid=valid)
