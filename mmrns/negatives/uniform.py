"""Uniform negatives, filtered: the baseline that every other sampler has to beat."""

import torch

from mmrns.graph.answers import Queries
from mmrns.negatives.base import Negatives, NegativeSampler
from mmrns.scoring import KnowledgeGraphModel


class Uniform(NegativeSampler):
    """Each negative is uniform, with replacement, over the entities that train does not list as an answer."""

    def draw(
        self, queries: Queries, model: KnowledgeGraphModel, step: int, generator: torch.Generator, measure: bool
    ) -> Negatives:
        answers = self.context.answers
        rows = answers.rows(queries)
        remaining = answers.num_entities - answers.count(rows)[:, None]
        uniform = torch.rand(
            len(rows), self.config.num_negatives, generator=generator, device=rows.device, dtype=torch.float64
        )
        ranks = (uniform * remaining).long()
        ids = answers.complement(rows, ranks).clamp_max(answers.num_entities - 1)
        # Only a query that every entity answers has nothing left to draw.
        return Negatives(ids, valid=(remaining > 0).expand_as(ids))
