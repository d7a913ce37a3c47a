"""The model of a graph: how an entity gets its vector, a table of relations, and a scoring function over them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrns.errors import UserError
from mmrns.graph.answers import TAIL, Queries
from mmrns.plugins import find
from mmrns.scoring.base import ScoringFunction


class EntityLookup(nn.Module):
    """An entity's vector is its row of a trained table. Other encoders keep these two methods and the width."""

    def __init__(self, num_entities: int, width: int, initial_range: float) -> None:
        super().__init__()
        self.width = width
        self.table = nn.Parameter(torch.empty(num_entities, width).uniform_(-initial_range, initial_range))

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors of entity rows (...): (..., width)."""
        # F.embedding, not indexing: its backward is several times faster on CPU.
        return F.embedding(rows, self.table)

    def everything(self) -> Tensor:
        """Vectors of all entities: (E, width)."""
        return self.table


class KnowledgeGraphModel(nn.Module):
    """Scores queries. Every direction-dependent choice of the package is made here."""

    def __init__(self, entities: EntityLookup, relations: nn.Embedding, scoring: ScoringFunction) -> None:
        super().__init__()
        self.entities = entities
        self.relations = relations
        self.scoring = scoring

    def score_answers(self, queries: Queries) -> Tensor:
        """Score of each query's true answer: (B,)."""
        return self.score_candidates(queries, self.entities(queries.answer)[:, None])[:, 0]

    def score_candidates(self, queries: Queries, candidates: Tensor) -> Tensor:
        """Score candidate vectors (B, n, width) as answers of their query: (B, n)."""
        anchor = self.entities(queries.anchor)[:, None]
        relation = self.relations(queries.relation)[:, None]
        if queries.direction == TAIL:
            return self.scoring.score(anchor, relation, candidates)
        return self.scoring.score(candidates, relation, anchor)

    def score_all(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        """Score every entity as the answer of B queries: (B, E)."""
        vectors, relation_vectors, everything = (
            self.entities(anchor),
            self.relations(relation),
            self.entities.everything(),
        )
        if direction == TAIL:
            return self.scoring.score_tails(vectors, relation_vectors, everything)
        return self.scoring.score_heads(everything, relation_vectors, vectors)


def build_model(
    name: str, num_entities: int, num_relations: int, dim: int, gamma: float, options: dict[str, Any] | None = None
) -> KnowledgeGraphModel:
    """A freshly initialised model.

    Args:
        name: scoring function, a choice of `mmrns list models` or module:Class.
        dim, gamma: dimension and margin (see Config).
        options: keyword arguments of the scoring function's own.

    Raises:
        UserError: unknown name, or options that the scoring function does not take.
    """
    scoring_class = find("--model", name, "mmrns.scoring", ScoringFunction)
    try:
        scoring = scoring_class(dim, gamma, **(options or {}))
    except (TypeError, ValueError) as error:
        raise UserError(f"--model-options: {name} does not take them ({error}); see its docstring") from error
    reach = scoring.initial_range
    entities = EntityLookup(num_entities, scoring.entity_numbers * dim, reach)
    relations = nn.Embedding(num_relations, scoring.relation_numbers * dim)
    nn.init.uniform_(relations.weight, -reach, reach)
    return KnowledgeGraphModel(entities, relations, scoring)
