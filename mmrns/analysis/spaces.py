"""The vectors of a run that are worth judging: embeddings, features, and what the attention makes of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mmrns.explanation import Explainer
from mmrns.features import FeatureStore
from mmrns.negatives.attention import AttendedTokens, CrossModalAttention, StructureGate
from mmrns.negatives.mmrns import MMRNS, STRUCTURE
from mmrns.scoring import KnowledgeGraphModel

Vectors = NDArray[np.float64]
Rows = NDArray[np.int64]

# KCA gives an entity a vector a relation; one that stands for them all is their mean over train's most frequent ones.
_MOST_RELATIONS = 32
# Entities whose features are held at once: bounds the memory, and changes no result.
_BLOCK = 1024


@dataclass(frozen=True)
class Space:
    """Vectors of entities (or of relations), read when they are asked for.

    Attributes:
        name, title: of the space.
        rows: those that have a vector, ascending.
        width: of a vector.
        gather: rows (N,) -> vectors (N, width).
        under: for vectors that depend on a relation: rows (N,), relations (N,) -> (N, width); None for the others.
        of_entities: False for the vectors of relations.
    """

    name: str
    title: str
    rows: Rows
    width: int
    gather: Callable[[Rows], Vectors]
    under: Callable[[Rows, Rows], Vectors] | None = None
    of_entities: bool = True

    def paired(self, rows: Rows, relations: Rows) -> Vectors:
        """Vectors (N, width) of entities under relations; where they do not depend on a relation, of entities."""
        return self.gather(rows) if self.under is None else self.under(rows, relations)


def spaces(explainer: Explainer) -> list[Space]:
    """Every space of a run, in the order in which they are shown."""
    model, features, sampler = explainer.trained.model, explainer.features, explainer.sampler
    found = [_entities(model, len(explainer.dataset.entities)), _relations(model)]
    if features is not None:
        found += [_features(features, name) for name in features.modalities]
    if sampler is not None:
        frequency = np.bincount(explainer.dataset.train[:, 1], minlength=len(explainer.dataset.relations))
        compared = [*sampler.pictured, *([STRUCTURE] if sampler.structure is not None else [])]
        found += [_Attended(sampler, model, name, frequency).space() for name in compared]
    return [space for space in found if len(space.rows)]


def _entities(model: KnowledgeGraphModel, number: int) -> Space:
    def gather(rows: Rows) -> Vectors:
        with torch.inference_mode():
            return _plain(model.entities(torch.from_numpy(rows)))

    return Space("entities", "Entity embeddings", np.arange(number), model.entities.width, gather)


def _relations(model: KnowledgeGraphModel) -> Space:
    table = _plain(model.relations.weight.detach())
    rows, width = np.arange(len(table)), table.shape[1]
    return Space("relations", "Relation embeddings", rows, width, table.__getitem__, of_entities=False)


def _features(features: FeatureStore, modality: str) -> Space:
    """An entity's features as one vector: the mean over the tokens that it has."""

    def gather(rows: Rows) -> Vectors:
        parts = []
        for block in torch.from_numpy(rows).split(_BLOCK):
            values, mask = features.gather(modality, block)
            parts.append((values * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1))
        return _plain(torch.cat(parts))

    width = features.shape(modality)[1]
    title = f"{modality.capitalize()} features, mean over an entity's tokens"
    return Space(modality, title, _present(features, modality), width, gather)


class _Attended:
    """What the sampler compares in one modality: z of an entity under a relation."""

    def __init__(self, sampler: MMRNS, model: KnowledgeGraphModel, modality: str, frequency: NDArray[np.int64]) -> None:
        self._sampler, self._model, self._modality = sampler, model, modality
        common = np.argsort(-frequency, kind="stable")[:_MOST_RELATIONS]
        self._common = torch.from_numpy(common[frequency[common] > 0])
        self._share = torch.from_numpy(frequency[self._common.numpy()] / frequency[self._common.numpy()].sum()).float()

    def space(self) -> Space:
        features = self._sampler.context.features
        if self._modality == STRUCTURE or features is None:
            width, rows = self._model.entities.width, np.arange(self._sampler.context.answers.num_entities)
        else:
            width, rows = self._sampler.config.attention_width, _present(features, self._modality)
        title = f"Sampler's {self._modality} vectors (KCA), mean over relations"
        return Space(f"kca-{self._modality}", title, rows, width, self.gather, self.under)

    @torch.inference_mode()
    def gather(self, rows: Rows) -> Vectors:
        """Mean over relations, by their share of train, of the unit vectors of z: a cosine is all that is used of z."""
        relations = self._model.relations(self._common)
        parts = []
        for block in torch.from_numpy(rows).split(_BLOCK):
            z = F.normalize(self._crossed(block, relations), dim=2)
            parts.append(torch.einsum("r,rnd->nd", self._share, z))
        return _plain(torch.cat(parts))

    @torch.inference_mode()
    def under(self, rows: Rows, relations: Rows) -> Vectors:
        blocks = zip(*(torch.from_numpy(part).split(_BLOCK) for part in (rows, relations)), strict=True)
        return _plain(torch.cat([self._paired(block, self._model.relations(relation)) for block, relation in blocks]))

    def _crossed(self, rows: Tensor, relations: Tensor) -> Tensor:
        if (attention := self._attention()) is None:
            return self._gate().crossed(self._model.entities(rows), relations)
        return attention.crossed(self._tokens(rows), attention.gates(relations, [self._modality]))[self._modality]

    def _paired(self, rows: Tensor, relations: Tensor) -> Tensor:
        if (attention := self._attention()) is None:
            return self._gate().paired(self._model.entities(rows), relations)
        return attention.paired(self._tokens(rows), attention.gates(relations, [self._modality]))[self._modality]

    def _attention(self) -> CrossModalAttention | None:
        return None if self._modality == STRUCTURE else self._sampler.attention

    def _gate(self) -> StructureGate:
        assert self._sampler.structure is not None
        return self._sampler.structure

    def _tokens(self, rows: Tensor) -> dict[str, AttendedTokens]:
        attention, features = self._sampler.attention, self._sampler.context.features
        assert attention is not None and features is not None
        tokens = {name: features.gather(name, rows) for name in features.modalities}
        return attention.attend(tokens, only=[self._modality])


def _present(features: FeatureStore, modality: str) -> Rows:
    return np.flatnonzero(features.presence(modality).numpy())


def _plain(vectors: Tensor) -> Vectors:
    return vectors.double().cpu().numpy()
