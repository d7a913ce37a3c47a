"""The model of a graph: an encoder of its entities, a table of relations, and a scoring function over them."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmrns.config import Config
from mmrns.encoders import EntityEncoder, build_encoder
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.plugins import check_score, find, is_own, not_made
from mmrns.scoring.base import ScoringFunction


class KnowledgeGraphModel(nn.Module):
    """Scores queries. Every direction-dependent choice of the package is made here.

    With reciprocal relations (Lacroix et al., ICML 2018) every relation has a second row for its inverse, and
    (?, r, t) is asked as (t, inverse of r, ?): the table of relations is then 2R rows long, inverses behind.
    """

    def __init__(
        self, entities: EntityEncoder, relations: nn.Embedding, scoring: ScoringFunction, reciprocal: bool = False
    ) -> None:
        super().__init__()
        self.entities = entities
        self.relations = relations
        self.scoring = scoring
        self.reciprocal = reciprocal

    def score_entities(self, queries: Queries, rows: Tensor) -> Tensor:
        """Score entity rows (B, n) as answers of their query: (B, n)."""
        if rows.is_cuda:
            return self.score_candidates(queries, self.entities(rows))
        relation, direction = self.posed(queries.relation, queries.direction)
        vectors, places = self.entities.gathered(torch.cat([queries.anchor[:, None], rows], dim=1))
        anchor, vectors = _WithRows.apply(vectors, places[:, 0])
        return self.scoring.score_rows(anchor, self.relations(relation), vectors, places[:, 1:], direction)

    def score_answers(self, queries: Queries) -> Tensor:
        """Score of each query's true answer: (B,)."""
        return self.score_entities(queries, queries.answer[:, None])[:, 0]

    def score_candidates(self, queries: Queries, candidates: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Score candidate vectors (B, n, width) as answers of their query: (B, n). `anchor`: (B, width), if at hand."""
        relation, direction = self.posed(queries.relation, queries.direction)
        anchor = self.entities(queries.anchor) if anchor is None else anchor
        relation_vectors = self.relations(relation)
        if candidates.is_cuda:
            return self.scoring.score_answers(anchor[:, None], relation_vectors[:, None], candidates, direction)
        rows = torch.arange(candidates.shape[0] * candidates.shape[1]).view(candidates.shape[:2])
        return self.scoring.score_rows(anchor, relation_vectors, candidates.flatten(0, 1), rows, direction)

    def score_drawn(
        self,
        queries: Queries,
        rows: Tensor,
        vectors: Tensor | None,
        given: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Scores of the true answers (B,) and of drawn entities (B, n), by row or, if given, by their vectors.

        Args:
            rows: (B, n) entity rows.
            vectors: (B, n, width) of these rows, where they are at hand.
            given: vectors (B, width) of the queries' anchors and of their answers, of use beside `vectors`.
        """
        if vectors is not None and given is not None:
            anchor, answer = given  # not joined with the drawn: their tensor, and its gradient, would be copied for it
            return (
                self.score_candidates(queries, answer[:, None], anchor)[:, 0],
                self.score_candidates(queries, vectors, anchor),
            )
        if vectors is not None:
            return self.score_answers(queries), self.score_candidates(queries, vectors)
        scores = self.score_entities(queries, torch.cat([queries.answer[:, None], rows], dim=1))
        return scores[:, 0], scores[:, 1:]

    def score_all(
        self,
        anchor: Tensor,
        relation: Tensor,
        direction: int,
        everything: Tensor | None = None,
        vectors: Tensor | None = None,
    ) -> Tensor:
        """Score every entity as the answer of B queries: (B, E).

        Args:
            anchor, relation: (B,) rows.
            direction: HEAD or TAIL.
            everything: (E, width) vectors of all entities, when the caller has them at hand.
            vectors: (B, width) those of the anchors, likewise.
        """
        relation, direction = self.posed(relation, direction)
        everything = self.entities.everything() if everything is None else everything
        vectors = F.embedding(anchor, everything) if vectors is None else vectors
        relation_vectors = self.relations(relation)
        if direction == TAIL:
            return self.scoring.score_tails(vectors, relation_vectors, everything)
        return self.scoring.score_heads(everything, relation_vectors, vectors)

    def score_shared(self, queries: Queries, candidates: Tensor, anchor: Tensor) -> Tensor:
        """Score candidate vectors (P, width), the same for every query, as its answers: (B, P).

        Args:
            anchor: (B, width) vectors of the anchors: looked up again, they could be dropped where they were not.
        """
        relation, direction = self.posed(queries.relation, queries.direction)
        relation_vectors = self.relations(relation)
        if direction == TAIL:
            return self.scoring.score_tails(anchor, relation_vectors, candidates)
        return self.scoring.score_heads(candidates, relation_vectors, anchor)

    def score_relations(self, anchor: Tensor, answer: Tensor, direction: int) -> Tensor:
        """Score every relation for B pairs, as it is asked for in this direction: (B, R).

        Args:
            anchor, answer: (B, width) entity vectors.
            direction: HEAD or TAIL, the side on which `answer` stands.
        """
        number = self.relations.num_embeddings // 2 if self.reciprocal else self.relations.num_embeddings
        rows, direction = self.posed(torch.arange(number, device=anchor.device), direction)
        head, tail = (anchor, answer) if direction == TAIL else (answer, anchor)
        return self.scoring.score_relations(head, tail, self.relations(rows))

    def posed(self, relation: Tensor, direction: int) -> tuple[Tensor, int]:
        """The relation rows and the direction in which a query is put to the scoring function."""
        if self.reciprocal and direction == HEAD:
            return relation + self.relations.num_embeddings // 2, TAIL
        return relation, direction


class _WithRows(torch.autograd.Function):
    """Rows (B,) of vectors (U, width), and these vectors: the gradient of the rows goes into that of the whole.

    Autograd makes a gradient of the whole for the rows, and another to add the two up.
    """

    @staticmethod
    def forward(context: Any, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        context.save_for_backward(rows)
        return F.embedding(rows, vectors), vectors.view_as(vectors)

    @staticmethod
    @once_differentiable
    def backward(context: Any, to_rows: Tensor, to_vectors: Tensor) -> tuple[Tensor, None]:
        (rows,) = context.saved_tensors
        # In place: nobody else has the gradient of a tensor that is made here and used once.
        return to_vectors.index_add_(0, rows, to_rows.to(to_vectors)), None


def build_model(
    name: str,
    num_entities: int,
    num_relations: int,
    dim: int,
    gamma: float,
    options: dict[str, Any] | None = None,
    *,
    reciprocal: bool = False,
    initial_range: float = 0.0,
    encoder: str = "lookup",
    encoder_options: dict[str, Any] | None = None,
    inputs: Mapping[str, Tensor] | None = None,
    entity_dropout: float = 0.0,
) -> KnowledgeGraphModel:
    """A freshly initialised model.

    Args:
        name: scoring function, a choice of `mmrns list models` or module:Class.
        dim, gamma: dimension and margin (see Config).
        options: keyword arguments of the scoring function's own.
        reciprocal: give every relation a row for its inverse, which asks for heads.
        initial_range: embeddings start uniform in ± this; 0: the scoring function's own choice.
        encoder: how entities get their vectors, a choice of `mmrns list encoders` or module:Class.
        encoder_options: keyword arguments of the encoder's own.
        inputs: modality -> (E, D) feature vectors for the encoder.
        entity_dropout: see `EntityEncoder.drop_entities`.

    Raises:
        UserError: unknown name, options that are not taken, features that the encoder lacks, or a score of a user's
            own that has another shape than it must.
    """
    scoring_class = find("--model", name, "mmrns.scoring", ScoringFunction)
    try:
        scoring = scoring_class(dim, gamma, **(options or {}))
    except (TypeError, ValueError) as error:
        raise not_made("--model", name, options, error) from error
    reach = initial_range or scoring.initial_range
    width, relation_width = scoring.entity_numbers * dim, scoring.relation_numbers * dim
    if is_own(name):
        check_score(name, scoring, width, relation_width)
    entities = build_encoder(encoder, num_entities, width, reach, inputs, encoder_options, entity_dropout)
    relations = nn.Embedding(num_relations * (2 if reciprocal else 1), relation_width)
    nn.init.uniform_(relations.weight, -reach, reach)
    return KnowledgeGraphModel(entities, relations, scoring, reciprocal)


def model_of(
    config: Config, num_entities: int, num_relations: int, inputs: Mapping[str, Tensor] | None = None
) -> KnowledgeGraphModel:
    """The freshly initialised model of a configuration; see `build_model`."""
    return build_model(
        config.model,
        num_entities,
        num_relations,
        config.dim,
        config.gamma,
        config.model_options,
        reciprocal=config.reciprocal,
        initial_range=config.initial_range,
        encoder=config.encoder,
        encoder_options=config.encoder_options,
        inputs=inputs,
        entity_dropout=config.entity_dropout,
    )
