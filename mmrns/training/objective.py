"""From a configuration to what trains."""

import torch
from torch import nn

from mmrns.config import Config
from mmrns.encoders import entity_inputs
from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.graph import Dataset
from mmrns.negatives.base import SamplerContext, build_sampler
from mmrns.scoring import model_of
from mmrns.scoring.kernels import PRODUCT
from mmrns.training.all_entities import AllEntitiesObjective
from mmrns.training.base import Objective
from mmrns.training.batches import total_steps
from mmrns.training.sampled import SampledObjective


def build_objective(config: Config, dataset: Dataset, features: FeatureStore | None, device: torch.device) -> Objective:
    """Model, sampler and objective of a configuration, freshly initialised from torch's global generator.

    Raises:
        UserError: an unknown model or sampler, or options that do not fit it or the graph.
    """
    answers = dataset.answers("train").to(device)
    model = model_of(config, len(dataset.entities), len(dataset.relations), entity_inputs(features, config.encoder))
    if config.entity_dropout:
        model.entities.shown.copy_(torch.from_numpy(dataset.seen))
    if config.regularization and config.regularizer == "dura" and model.scoring.comparison is not PRODUCT:
        raise UserError(f"--regularizer dura: {config.model} scores no products of vectors; give n3, or complex")
    examples = len(dataset.train) if config.objective == "sampled" else len(answers.query_keys)
    context = SamplerContext(
        answers, features, model.entities.width, model.relations.embedding_dim, total_steps(config, examples)
    )
    held_out = dataset.answers("valid", "test").to(device) if config.samples else None
    if config.objective != "sampled":
        sampler = build_sampler(config, context) if config.samples else nn.Module()
        return AllEntitiesObjective(config, model, sampler, answers, held_out).to(device)
    return SampledObjective(config, model, build_sampler(config, context), answers, held_out).to(device)
