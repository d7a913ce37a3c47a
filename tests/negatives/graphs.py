"""Small graphs and features for the sampler's tests."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrns.config_io import load_config
from mmrns.graph.answers import AnswerIndex
from mmrns.negatives.base import SamplerContext
from mmrns.negatives.mmrns import MMRNS
from mmrns.negatives.similarity import ByRelation
from mmrns.scoring import build_model


@dataclass
class InMemoryFeatures:
    """What a sampler asks of a FeatureStore, over tensors: modality -> ((E, n, D), (E, n) bool)."""

    tensors: dict[str, tuple[Tensor, Tensor]]

    @property
    def modalities(self):
        return tuple(self.tensors)

    def shape(self, modality):
        return tuple(self.tensors[modality][0].shape[1:])

    def gather(self, modality, rows, widen=True):
        values, present = self.tensors[modality]
        return values[rows], present[rows]


def random_features(entities, shapes, generator, missing=0.0, dtype=torch.float64):
    tensors = {}
    for name, (count, width) in shapes.items():
        present = torch.rand(entities, count, generator=generator) >= missing
        values = torch.randn(entities, count, width, generator=generator, dtype=dtype)
        tensors[name] = (values * present[..., None], present)
    return InMemoryFeatures(tensors)


def build(triples, num_entities, num_relations, features, dtype=torch.float64, total_steps=0, **options):
    """A model and an MMRNS sampler over (N, 3) triples, for a run of so many steps."""
    values = {"dim": 4, "attention_width": 6, "structure_hidden": 5, "num_negatives": 3, "pool_size": 0, "gamma": 4.0}
    config = load_config(values | options)
    answers = AnswerIndex(triples, num_entities, num_relations)
    model = build_model(config.model, num_entities, num_relations, config.dim, config.gamma).to(dtype)
    context = SamplerContext(answers, features, model.entities.width, model.relations.embedding_dim, total_steps)
    return config, model, MMRNS(config, context).to(dtype)


def random_triples(entities, relations, generator, number=30):
    columns = [torch.randint(limit, (number,), generator=generator) for limit in (entities, relations, entities)]
    return torch.stack(columns, dim=1)


def grouped(relation, relations):
    """Rows by relation, of which some may have none."""
    sizes = torch.bincount(relation, minlength=relations).tolist()
    return ByRelation(relation, torch.argsort(relation, stable=True), sizes)
