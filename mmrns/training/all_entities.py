"""1vsAll and KvsAll: every entity is a candidate of every query, so no negatives are sampled.

An example is a distinct query (anchor, relation, direction), not a triple: a query with several answers is scored
once, which halves the work on the usual benchmarks and leaves the loss of a pass over train the same.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.losses import binary_cross_entropy_all, cross_entropy_all
from mmrns.negatives import Negatives, NegativeSampler
from mmrns.training.base import Objective, StepResult, false_negative_rate


class _Side(NamedTuple):
    """B queries of one direction, their rows in the index of answers, and their K (query, answer) pairs."""

    queries: Queries
    rows: Tensor
    position: Tensor
    answers: Tensor


class AllEntitiesObjective(Objective):
    """Cross-entropy or binary cross-entropy over all entities; beside it N3 or DURA, relations, sampled negatives."""

    def examples(self, dataset: Dataset) -> Tensor:
        """Columns anchor, relation, direction of every distinct query of train."""
        return self.train_answers.queries().cpu()

    def forward(self, examples: Tensor, step: int, generator: torch.Generator, measure: bool) -> StepResult:
        """Loss of (B, 3) queries: anchor, relation, direction."""
        everything = self.model.entities.everything()
        sides = self._sides(examples)
        # One lookup, so that one gradient of the table's size comes back from it.
        wanted = [rows for side in sides for rows in (side.queries.anchor, side.answers)]
        vectors = F.embedding(torch.cat(wanted), everything).split([len(rows) for rows in wanted])
        totals: dict[str, Tensor] = {}
        drawn: dict[str, list[Tensor]] = {}
        for side, anchor, answer in zip(sides, vectors[::2], vectors[1::2], strict=True):
            parts = self._all_entities(side, anchor, answer, everything)
            if self.config.sampled_weight:
                negatives, parts["sampled"] = self._sampled(side.queries, side.rows, step, generator, measure)
                for name, value in negatives.metrics.items():
                    drawn.setdefault(name, []).append(value)
            for name, value in parts.items():
                totals[name] = totals.get(name, value.new_zeros(())) + value
        # Sums over (query, answer) pairs become means, so that a loss weighs the same at every batch size.
        pairs = sum(len(side.answers) for side in sides)
        means = {name: value / pairs for name, value in totals.items()}
        loss = torch.stack(list(means.values())).sum()
        if not measure:
            return StepResult(loss)
        metrics = {"loss": loss} | {f"loss/{name}": value for name, value in means.items()}
        metrics |= {name: torch.stack(values).mean() for name, values in drawn.items()}
        return StepResult(loss, {name: value.detach() for name, value in metrics.items()})

    def _sides(self, examples: Tensor) -> list[_Side]:
        """The examples of each direction that has any."""
        direction = examples[:, 2]
        tails = int((direction == TAIL).sum())  # the one number of this that a GPU is waited for
        of_tails, of_heads = examples[torch.argsort(direction != TAIL, stable=True)].tensor_split([tails])
        sides = []
        for asked, part in ((HEAD, of_heads), (TAIL, of_tails)):
            if len(part):
                anchor, relation, _ = part.unbind(1)
                queries = Queries(anchor, relation, anchor, asked)
                rows = self.train_answers.rows(queries)
                sides.append(_Side(queries, rows, *self.train_answers.pairs(rows)))
        return sides

    def _all_entities(self, side: _Side, anchor: Tensor, answer: Tensor, everything: Tensor) -> dict[str, Tensor]:
        """Losses of one side's queries, each summed over its (query, answer) pairs.

        Args:
            side: B queries and their K pairs.
            anchor, answer: (B, width) and (K, width) vectors of these.
            everything: (E, width).
        """
        config, queries, position = self.config, side.queries, side.position
        scores = self.model.score_all(queries.anchor, queries.relation, queries.direction, everything, anchor)
        loss = cross_entropy_all if config.objective == "1vsall" else binary_cross_entropy_all
        losses: dict[str, Tensor] = {config.objective: loss(scores, position, side.answers, config.label_smoothing)}
        if config.regularization:
            relation, direction = self.model.posed(queries.relation, queries.direction)
            vectors = (anchor[position], self.model.relations(relation)[position], answer)
            losses[config.regularizer] = self.penalty(*vectors, direction)
        if config.relation_prediction:
            # Every pair's relation against all relations: Chen et al. (AKBC 2021), equation 2.
            of_relations = self.model.score_relations(anchor[position], answer, queries.direction)
            missed = F.cross_entropy(of_relations, queries.relation[position], reduction="sum")
            losses["relation"] = config.relation_prediction * missed
        return losses

    def _sampled(
        self, queries: Queries, rows: Tensor, step: int, generator: torch.Generator, measure: bool
    ) -> tuple[Negatives, Tensor]:
        """Negatives, and --sampled-weight times L_kgc + beta L_con of one known answer a query, summed over queries."""
        assert isinstance(self.sampler, NegativeSampler)
        answer, _ = self.train_answers.window(rows, 1, generator)
        queries = queries._replace(answer=answer[:, 0])
        negatives = self.sampler.draw(queries, self.model, step, generator, measure)
        if measure and self.held_out is not None:
            negatives.metrics["false_negative_rate"] = false_negative_rate(self.held_out, queries, negatives)
        known = self.train_answers.count(rows)
        kgc, own, *_ = self.of_drawn(queries, negatives, known, torch.ones_like(known))
        return negatives, self.config.sampled_weight * len(rows) * (kgc + own)
