"""MMRNS: negatives that look, read and sit like the true answer under this relation (Xu et al., ACM MM 2022).

A step draws a pool of P candidates; scores each candidate's similarity to every true answer in pictures, texts and
structure; draws n of them a query without replacement, by Gumbel top-k over the annealed distribution, with known
answers masked; and passes gradients back through the draw. Equations: docs/method.md.
"""

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.graph.answers import Queries
from mmrns.losses import contrastive_loss
from mmrns.negatives.attention import CrossModalAttention, StructureGate
from mmrns.negatives.base import Negatives, NegativeSampler, SamplerContext
from mmrns.negatives.gumbel import gumbel_top_k, straight_through
from mmrns.negatives.pool import Pool, draw_distinct
from mmrns.negatives.similarity import (
    cosine,
    cosine_by_relation,
    exploration_temperature,
    normalised_entropy,
    sampling_distribution,
)
from mmrns.scoring import KnowledgeGraphModel

_log = logging.getLogger(__name__)

STRUCTURE = "structure"
_SIGN = {"cooperative": 1.0, "adversarial": -1.0}


@dataclass(frozen=True)
class Similarities:
    """Similarities of B true answers, by modality.

    Attributes:
        to_candidates: modality -> (B, P).
        to_positives: modality -> (B, K); column 0 is the answer itself.
        present: modality -> (P + X,) bool over the pool's rows.
    """

    to_candidates: dict[str, Tensor]
    to_positives: dict[str, Tensor]
    present: dict[str, Tensor]


@dataclass(frozen=True)
class DrawMemory:
    """What L_con needs of a draw.

    Attributes:
        pool: the step's entities.
        similarities: of the answers to them.
        known: (B, P) bool, candidates that train lists as answers of the query.
        beside: (B, K) bool, positives that are real and not among the candidates.
        drawn: (B, n) candidate columns, and drawable (B, n), whether there was something to draw.
    """

    pool: Pool
    similarities: Similarities
    known: Tensor
    beside: Tensor
    drawn: Tensor
    drawable: Tensor


class MMRNS(NegativeSampler):
    """The relation-enhanced multimodal sampler."""

    def __init__(self, config: Config, context: SamplerContext) -> None:
        super().__init__(config, context)
        features = context.features
        available = features.modalities if features else ()
        wanted = config.modalities.split(",")
        self.pictured = [name for name in wanted if name in available]
        self.attention = (
            CrossModalAttention(
                {name: features.shape(name) for name in available},
                context.relation_width,
                config.attention_width,
                config.leaky_slope,
            )
            if features and self.pictured
            else None
        )
        self.structure = (
            StructureGate(context.entity_width, context.relation_width, config.structure_hidden, config.leaky_slope)
            if STRUCTURE in wanted
            else None
        )
        if self.attention is None and self.structure is None:
            raise UserError(
                f"--modalities {config.modalities}: no such features here; run mmrns extract, or use structure"
            )
        missing = [name for name in wanted if name not in (*available, STRUCTURE)]
        if missing:
            _log.warning(
                "no %s features here: MMRNS judges likeness by %s (mmrns extract makes features)",
                " or ".join(missing),
                " and ".join(name for name in wanted if name not in missing),
            )
        self.pool_size = config.pool_size or context.answers.num_entities
        if config.num_negatives > self.pool_size:
            raise UserError(
                f"--num-negatives {config.num_negatives} is larger than the pool of {self.pool_size}; draw fewer"
            )

    def draw(
        self, queries: Queries, model: KnowledgeGraphModel, step: int, generator: torch.Generator, measure: bool
    ) -> Negatives:
        config, answers = self.config, self.context.answers
        rows = answers.rows(queries)
        candidates = draw_distinct(answers.num_entities, self.pool_size, generator)
        positives, real = self._positives(queries, rows, generator)
        pool = Pool.of(candidates, positives)
        vectors = model.entities(pool.rows)

        similarities = self.similarities(queries, model, pool, vectors)
        answer = pool.positives[:, 0]
        p, by_modality = sampling_distribution(
            similarities.to_candidates,
            {name: present[answer] for name, present in similarities.present.items()},
            {name: present[: pool.size] for name, present in similarities.present.items()},
            exploration_temperature(config.exploration, step),
        )

        known = self._known_columns(rows, pool)
        log_p = p.clamp_min(torch.finfo(p.dtype).tiny).log().masked_fill(known, -torch.inf)
        perturbed, drawn = gumbel_top_k(log_p, config.num_negatives, generator)
        drawable = perturbed.detach().gather(1, drawn) > -torch.inf
        drawn_vectors = None
        if config.sampler_gradient != "off":
            drawn_vectors = straight_through(
                perturbed, drawn, vectors[: pool.size], config.gumbel_temperature, _SIGN[config.sampler_gradient]
            )
        return Negatives(
            ids=pool.candidates[drawn],
            vectors=drawn_vectors,
            valid=drawable,
            metrics=self._metrics(p, by_modality, step) if measure else {},
            memory=DrawMemory(pool, similarities, known, real & (pool.positives >= pool.size), drawn, drawable),
        )

    def loss(self, negatives: Negatives, weights: Tensor) -> Tensor:
        """beta L_con: per triple and modality, mean over the modalities that the triple's answer has."""
        if self.config.contrastive_weight == 0:
            return super().loss(negatives, weights)
        memory: DrawMemory = negatives.memory
        pool, similarities = memory.pool, memory.similarities
        # A drawn entity weighs its self-adversarial weight, any other 1 / |E|; known answers are no negatives.
        elsewhere = 1.0 / self.context.answers.num_entities
        negative = torch.full_like(memory.known, elsewhere, dtype=weights.dtype)
        negative = negative.scatter(1, memory.drawn, torch.where(memory.drawable, weights, elsewhere))
        negative = torch.cat([torch.zeros_like(memory.beside, dtype=weights.dtype), negative], dim=1)
        positive = torch.cat([memory.beside, memory.known], dim=1)
        negative = negative.masked_fill(positive, 0.0)
        total, count = torch.zeros_like(weights[:, 0]), torch.zeros_like(weights[:, 0])
        for name, to_candidates in similarities.to_candidates.items():
            present = similarities.present[name]
            has = torch.cat([present[pool.positives], present[: pool.size].expand(len(positive), -1)], dim=1)
            has = has & present[pool.positives[:, :1]]
            similarity = torch.cat([similarities.to_positives[name], to_candidates], dim=1)
            loss, counts = contrastive_loss(similarity, (positive & has).to(weights.dtype) * elsewhere, negative * has)
            total, count = total + loss, count + counts
        return self.config.contrastive_weight * (total / count.clamp_min(1)).mean()

    def similarities(self, queries: Queries, model: KnowledgeGraphModel, pool: Pool, vectors: Tensor) -> Similarities:
        """Similarity of each query's answer to the pool's candidates and to its other known answers.

        Args:
            pool: candidates and positives.
            vectors: (P + X, w) entity vectors of the pool's rows.
        """
        distinct, relation = torch.unique(queries.relation, return_inverse=True)
        relations = model.relations(distinct)
        if self.config.sampler_detach:
            vectors, relations = vectors.detach(), relations.detach()
        # Many queries share an answer and a relation: each such pair is attended to once.
        pairs = relation[:, None] * len(pool.rows) + pool.positives
        pairs, place = torch.unique(pairs, return_inverse=True)
        entity_of_pair, relation_of_pair = pairs % len(pool.rows), pairs // len(pool.rows)
        result = Similarities({}, {}, {})

        def compare(name: str, crossed: Tensor, paired: Tensor, present: Tensor) -> None:
            epsilon = self.config.cosine_epsilon
            positives = F.embedding(place, paired)  # (B, K, a)
            result.to_candidates[name] = cosine_by_relation(positives[:, 0], crossed, relation, epsilon)
            result.to_positives[name] = cosine(positives[:, :1], positives, epsilon)
            result.present[name] = present

        if self.attention is not None and self.context.features is not None:
            features = {
                name: self.context.features.gather(name, pool.rows) for name in self.context.features.modalities
            }
            tokens = self.attention.attend(features, only=self.pictured)
            gates = self.attention.gates(relations, only=self.pictured)
            crossed = self.attention.crossed({name: part[: pool.size] for name, part in tokens.items()}, gates)
            paired = self.attention.paired(
                {name: part[entity_of_pair] for name, part in tokens.items()},
                {name: gate.index_select(0, relation_of_pair) for name, gate in gates.items()},
            )
            for name in self.pictured:
                compare(name, crossed[name], paired[name], features[name][1].any(1))
        if self.structure is not None:
            everywhere = torch.ones(len(pool.rows), dtype=torch.bool, device=vectors.device)
            crossed_structure = self.structure.crossed(vectors[: pool.size], relations)
            of_pair = F.embedding(entity_of_pair, vectors), F.embedding(relation_of_pair, relations)
            compare(STRUCTURE, crossed_structure, self.structure.paired(*of_pair), everywhere)
        return result

    def _positives(self, queries: Queries, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(B, 1 + k) each query's answer and up to k other known answers, and a (B, 1 + k) bool of which are real."""
        answer = queries.answer[:, None]
        number = self.config.pool_positives if self.config.contrastive_weight > 0 else 0
        others, real = self.context.answers.window(rows, number, generator)
        real = real & (others != answer)
        return torch.cat([answer, torch.where(real, others, answer)], dim=1), torch.cat(
            [torch.ones_like(answer, dtype=torch.bool), real], dim=1
        )

    def _known_columns(self, rows: Tensor, pool: Pool) -> Tensor:
        """(B, P) bool: candidates that train lists as answers of the query, its own answer among them."""
        position, entities = self.context.answers.pairs(rows)
        column, inside = pool.columns(entities)
        known = torch.zeros(len(rows), pool.size, dtype=torch.bool, device=rows.device)
        known[position[inside], column[inside]] = True
        return known

    def _metrics(self, p: Tensor, by_modality: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            metrics = {f"entropy/{name}": normalised_entropy(value) for name, value in by_modality.items()}
            metrics["entropy/all"] = normalised_entropy(p)
            metrics["epsilon"] = p.new_tensor(exploration_temperature(self.config.exploration, step))
        return metrics
