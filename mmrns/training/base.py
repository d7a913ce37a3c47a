"""What a training objective is: what a step minimises, and what it goes through."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmrns.config import Config
from mmrns.graph import Dataset
from mmrns.graph.answers import AnswerIndex, Queries
from mmrns.losses import PENALTIES, kgc_loss, sampled_softmax_loss, self_adversarial_weights
from mmrns.negatives import Negatives, NegativeSampler
from mmrns.scoring import KnowledgeGraphModel


@dataclass
class StepResult:
    """The loss to minimise and, when measured, scalars for the log."""

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


def false_negative_rate(held_out: AnswerIndex, queries: Queries, negatives: Negatives) -> Tensor:
    """Share of the drawn negatives that `held_out` (valid and test) lists as answers: a scalar, which never steers."""
    missed = held_out.contains(held_out.rows(queries), negatives.ids)
    drawn = torch.ones_like(missed) if negatives.valid is None else negatives.valid
    return (missed & drawn).sum() / drawn.sum().clamp_min(1)


class Objective(nn.Module, ABC):
    """Everything that trains: the model, the sampler where there is one, and the loss over a batch of examples.

    Attributes:
        config: of the run.
        model: what is being trained.
        sampler: its negatives; an empty module for an objective without any.
        train_answers: what train lists.
        held_out: what valid and test list, which only measures false negatives and never steers; None where none are
            sampled.
    """

    def __init__(
        self,
        config: Config,
        model: KnowledgeGraphModel,
        sampler: nn.Module,
        train_answers: AnswerIndex,
        held_out: AnswerIndex | None = None,
    ) -> None:
        """Keep the parts."""
        super().__init__()
        self.config = config
        self.model = model
        self.sampler = sampler
        self.train_answers = train_answers
        self.held_out = held_out

    @abstractmethod
    def examples(self, dataset: Dataset) -> Tensor:
        """(N, 3) int64, what batches are cut from, in a fixed order."""

    @abstractmethod
    def forward(self, examples: Tensor, step: int, generator: torch.Generator, measure: bool) -> StepResult:
        """Loss of (B, 3) examples.

        Args:
            examples: rows of `examples`.
            step: optimiser step, from 1.
            generator: the only source of randomness, on the examples' device.
            measure: fill the result's metrics.
        """

    def of_drawn(
        self, queries: Queries, negatives: Negatives, known: Tensor, triple_weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Losses of the answers of B queries and of the negatives drawn for them.

        Args:
            queries: with their answers.
            negatives: what the sampler drew for them.
            known: (B,) how many answers train lists for each.
            triple_weights: (B,) subsampling weights.

        Returns:
            L_kgc, the sampler's own loss, and the scores of answers (B,) and negatives (B, n).
        """
        config = self.config
        positive, negative = self.model.score_drawn(queries, negatives.ids, negatives.vectors, negatives.given)
        weights = self_adversarial_weights(
            negative, config.adversarial_temperature, negatives.valid, negatives.correction
        )
        triple_weights = triple_weights.to(positive.dtype)
        if config.sampled_loss == "softmax":
            others = self.train_answers.num_entities - known
            kgc = sampled_softmax_loss(
                positive, negative, others, triple_weights, negatives.valid, negatives.correction
            )
        else:
            kgc = kgc_loss(positive, negative, weights, triple_weights)
        assert isinstance(self.sampler, NegativeSampler)
        return kgc, self.sampler.loss(negatives, weights), positive, negative

    def penalty(self, anchor: Tensor, relation: Tensor, answer: Tensor, direction: int) -> Tensor:
        """--regularization times --regularizer of the vectors of triples as posed, (K, width) each, summed."""
        penalty = PENALTIES[self.config.regularizer]
        return self.config.regularization * penalty(self.model.scoring, anchor, relation, answer, direction)
