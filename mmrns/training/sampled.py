"""L = L_kgc + beta L_con over sampled negatives (method.md section 6)."""

import torch
from torch import Tensor

from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex, Queries
from mmrns.negatives import NegativeSampler
from mmrns.training.base import Objective, StepResult, false_negative_rate


class SampledObjective(Objective):
    """Model and sampler trained jointly; odd steps ask for tails, even steps for heads, as RotatE's program does."""

    sampler: NegativeSampler
    held_out: AnswerIndex

    def examples(self, dataset: Dataset) -> Tensor:
        """The triples of train."""
        return torch.from_numpy(dataset.train)

    def forward(self, triples: Tensor, step: int, generator: torch.Generator, measure: bool) -> StepResult:
        """Loss of (B, 3) train triples at `step` (from 1)."""
        queries = Queries.of(triples, TAIL if step % 2 else HEAD)
        negatives = self.sampler.draw(queries, self.model, step, generator, measure)
        known = self._known(triples)
        weights = self._triple_weights(known)
        kgc, own, positive, negative = self.of_drawn(queries, negatives, known[queries.direction], weights)
        loss = kgc + own
        if self.config.regularization:
            loss = loss + self._mean_penalty(queries)
        if not measure:
            return StepResult(loss)
        with torch.no_grad():
            metrics = {"loss": loss, "loss/kgc": kgc, "loss/sampler": own, **negatives.metrics}
            metrics["score/positive"], metrics["score/negative"] = positive.mean(), negative.mean()
            metrics["false_negative_rate"] = false_negative_rate(self.held_out, queries, negatives)
        return StepResult(loss, {name: value.detach() for name, value in metrics.items()})

    def _known(self, triples: Tensor) -> list[Tensor]:
        """How many answers train lists for (., r, t) and for (h, r, .) of each triple, by direction: (B,) and (B,)."""
        answers = self.train_answers
        return [answers.count(answers.rows(Queries.of(triples, direction))) for direction in (HEAD, TAIL)]

    def _triple_weights(self, known: list[Tensor]) -> Tensor:
        """RotatE's subsampling weights: 1 / sqrt(frequency of (., r, t) + frequency of (h, r, .) + 2 offset)."""
        frequency, dtype = known[HEAD] + known[TAIL], self.model.relations.weight.dtype
        if not self.config.subsampling:
            return torch.ones_like(frequency, dtype=dtype)
        return (frequency + 2 * self.config.subsampling_offset).to(dtype).rsqrt()

    def _mean_penalty(self, queries: Queries) -> Tensor:
        """Mean over the batch of the regulariser, of the triples as they are posed."""
        anchors, answers = self.model.entities(torch.cat([queries.anchor, queries.answer])).chunk(2)
        relation, direction = self.model.posed(queries.relation, queries.direction)
        return self.penalty(anchors, self.model.relations(relation), answers, direction) / len(relation)
