"""What a negative sampler is: a draw for a batch of queries, and a loss term of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.graph.answers import AnswerIndex, Queries
from mmrns.plugins import check_drawn, find, is_own, not_made
from mmrns.scoring import KnowledgeGraphModel


@dataclass
class Negatives:
    """What a sampler drew for B queries.

    Attributes:
        ids: (B, n) entity rows.
        vectors: (B, n, width) their vectors, when the sampler wants a gradient through the draw; None: look them up.
        given: (B, width) vectors of the queries' anchors and of their answers, where the draw has looked them up beside
            its own: a table that is read once has one gradient. None: look them up.
        valid: (B, n) bool, False where a query had too few entities left to draw from; None: all valid.
        correction: (B, n) what to take off the logits of the self-adversarial weights; None: nothing.
        metrics: scalars for the log, filled only when the draw was asked for them.
        memory: what the sampler's own `loss` needs of this draw.
    """

    ids: Tensor
    vectors: Tensor | None = None
    given: tuple[Tensor, Tensor] | None = None
    valid: Tensor | None = None
    correction: Tensor | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)
    memory: Any = None


@dataclass(frozen=True)
class SamplerContext:
    """What a sampler may know of the graph: train's answers and frozen features, never valid or test.

    Attributes:
        answers: known answers in train, on the training device.
        features: pictures and texts, or None when the dataset has none.
        entity_width, relation_width: widths of the model's vectors.
        total_steps: of the run, for what is scheduled over shares of it; 0 where nothing is being trained, which reads
            as a run that has ended.
    """

    answers: AnswerIndex
    features: FeatureStore | None
    entity_width: int
    relation_width: int
    total_steps: int = 0

    def progress(self, step: int) -> float:
        """Share of the run that is done at a step, 0 to 1."""
        return min(1.0, step / self.total_steps) if self.total_steps else 1.0


class NegativeSampler(nn.Module, ABC):
    """Draws negatives for a batch; its parameters, if any, train with the model at --sampler-learning-rate."""

    def __init__(self, config: Config, context: SamplerContext) -> None:
        super().__init__()
        self.config = config
        self.context = context

    @abstractmethod
    def draw(
        self, queries: Queries, model: KnowledgeGraphModel, step: int, generator: torch.Generator, measure: bool
    ) -> Negatives:
        """Draw config.num_negatives entities a query that train does not list as its answers.

        Args:
            queries: B queries of one direction, each of them known to train.
            model: the model being trained.
            step: optimiser step, from 1.
            generator: the only source of randomness, on the queries' device.
            measure: fill `metrics` (a little costly, so asked for every --log-every steps).
        """

    def loss(self, negatives: Negatives, weights: Tensor) -> Tensor:
        """The sampler's own loss term, already weighted, given the (B, n) self-adversarial weights of its draw."""
        return negatives.ids.new_zeros((), dtype=torch.float32)


def build_sampler(config: Config, context: SamplerContext) -> NegativeSampler:
    """The sampler that the configuration names, freshly initialised.

    Raises:
        UserError: unknown name, options it does not take, or more negatives than entities.
    """
    num_entities = context.answers.num_entities
    if config.num_negatives >= num_entities:
        raise UserError(
            f"--num-negatives {config.num_negatives}: the graph has {num_entities} entities; "
            f"give --num-negatives {num_entities - 1} or fewer"
        )
    sampler_class = find("--sampler", config.sampler, "mmrns.negatives", NegativeSampler)
    try:
        sampler: NegativeSampler = sampler_class(config, context, **config.sampler_options)
    except TypeError as error:
        raise not_made("--sampler", config.sampler, config.sampler_options, error) from error
    if is_own(config.sampler):
        _check_first_draw(sampler, config.sampler, num_entities)
    return sampler


def _check_first_draw(sampler: NegativeSampler, name: str, num_entities: int) -> None:
    """Let the first draw of a user's own sampler be checked; later ones are the class's own, at no cost."""
    draw = sampler.draw

    def first(queries: Queries, *rest: Any, **named: Any) -> Negatives:
        drawn = draw(queries, *rest, **named)
        check_drawn(name, drawn, Negatives, len(queries.answer), num_entities)
        sampler.__dict__.pop("draw", None)
        return drawn

    sampler.__dict__["draw"] = first
