"""A user's sampler without chance: the negatives of a query are always the same, whoever draws them."""

import torch

from mmrns.negatives.base import Negatives, NegativeSampler


class FixedNegatives(NegativeSampler):
    """Entities at fixed strides from the query's own numbers."""

    def draw(self, queries, model, step, generator, measure):
        start = 7 * queries.anchor + 13 * queries.relation + 29 * queries.answer
        strides = torch.arange(1, self.config.num_negatives + 1, device=start.device) ** 2
        return Negatives((start[:, None] + 3 * strides) % self.context.answers.num_entities)
