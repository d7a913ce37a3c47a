"""MMRNS: negatives that look, read and sit like the true answer under this relation (Xu et al., ACM MM 2022).

A step draws a pool of P candidates; scores each candidate's similarity to every true answer in pictures, texts and
structure; draws n of them a query without replacement, by Gumbel top-k over the annealed distribution, with known
answers masked; and passes gradients back through the draw. Equations: docs/method.md.
"""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.graph.answers import Queries
from mmrns.negatives.attention import CrossModalAttention, StructureGate
from mmrns.negatives.base import Negatives, NegativeSampler, SamplerContext
from mmrns.negatives.contrast import DrawMemory, contrast
from mmrns.negatives.exploration import (
    drawn_from_pool,
    entropy_target,
    exploration_temperature,
    hardness,
    normalised_entropy,
    solve_temperature,
    solving_rows,
)
from mmrns.negatives.gated import gated_cosine
from mmrns.negatives.guard import CoAnswers, highest, known_columns, log_of, mean_similarity
from mmrns.negatives.guided import crossed_by_blocks
from mmrns.negatives.gumbel import gumbel_top_k, inclusion, straight_through
from mmrns.negatives.pool import Pool, draw_distinct
from mmrns.negatives.similarity import (
    ByRelation,
    Similarities,
    cosine,
    cosine_by_relation,
    sampling_distribution,
    spread,
    standardised,
    widened,
)
from mmrns.negatives.uniform import uniform_draws
from mmrns.scoring import KnowledgeGraphModel

_log = logging.getLogger(__name__)

STRUCTURE, SCORE = "structure", "score"
_SIGN = {"cooperative": 1.0, "adversarial": -1.0}


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
        if self.attention is None and self.structure is None and SCORE not in wanted:
            raise UserError(
                f"--modalities {config.modalities}: no such features here; run mmrns extract, or use structure"
            )
        missing = [name for name in wanted if name not in (*available, STRUCTURE, SCORE)]
        if missing:
            _log.warning(
                "no %s features here: MMRNS judges likeness by %s (mmrns extract makes features)",
                " or ".join(missing),
                " and ".join(name for name in wanted if name not in missing),
            )
        if config.guard == "similarity" and not self.pictured and self.structure is None:
            raise UserError(f"--guard similarity: --modalities {config.modalities} has no similarity; name one of them")
        if config.contrastive_loss == "self-supervised" and len(self.pictured) < 2:
            raise UserError(
                "--contrastive-loss self-supervised: compares pictures with texts; it needs features of both "
                "(mmrns extract), and --modalities with image and text"
            )
        self.co_answers = CoAnswers(context.answers, config.guard_share) if config.guard == "co-answers" else None
        self.pool_size = config.pool_size or context.answers.num_entities
        if config.pool_negatives > self.pool_size:
            raise UserError(
                f"--num-negatives {config.pool_negatives} is larger than the pool of {self.pool_size}; draw fewer"
            )

    def draw(
        self, queries: Queries, model: KnowledgeGraphModel, step: int, generator: torch.Generator, measure: bool
    ) -> Negatives:
        config, answers, progress = self.config, self.context.answers, self.context.progress(step)
        rows = answers.rows(queries)
        number, beta = drawn_from_pool(config, progress), self._contrastive_weight(progress)
        if number == 0 and beta == 0:  # nothing asks for likeness
            ids, valid = uniform_draws(answers, rows, config.num_negatives, generator)
            return Negatives(ids, valid=valid)

        candidates = draw_distinct(answers.num_entities, self.pool_size, generator)
        positives, real = self._positives(queries, rows, self.config.pool_positives if beta > 0 else 0, generator)
        pool = Pool.of(candidates, positives)
        # One lookup for the pool and the anchors, and none for the answers: each would bring a gradient of the table.
        vectors, anchors = model.entities(torch.cat([pool.rows, queries.anchor])).split([len(pool.rows), len(rows)])
        similarities = self.similarities(queries, model, pool, vectors)
        known = known_columns(answers, rows, pool)
        if SCORE in config.modalities.split(","):
            with torch.no_grad():
                scores = widened(model.score_shared(queries, vectors[: pool.size], anchors))
                scores = standardised(scores) if config.score_scale == "standardised" else scores
            similarities.to_candidates[SCORE] = scores
            similarities.present[SCORE] = torch.ones(len(pool.rows), dtype=torch.bool, device=scores.device)
        guarded = self.guarded(queries, model, pool, vectors, anchors, similarities, known)

        p, by_modality, temperature = self.distribution(similarities, pool, known, guarded, step)
        log_p = p.clamp_min(torch.finfo(p.dtype).tiny).log().masked_fill(known, -torch.inf)
        if guarded is not None:
            log_p = torch.where(guarded, log_p + log_of(config.guard_weight), log_p)
        perturbed, drawn = gumbel_top_k(log_p, number, generator)
        drawable = perturbed.detach().gather(1, drawn) > -torch.inf
        elsewhere, there = uniform_draws(answers, rows, config.num_negatives - number, generator)
        drawn_vectors = None
        if config.sampler_gradient != "off" and number and perturbed.requires_grad:
            sign, tau = _SIGN[config.sampler_gradient], config.gumbel_temperature
            drawn_vectors = straight_through(perturbed, drawn, vectors[: pool.size], tau, sign)
            if number < config.num_negatives:
                drawn_vectors = torch.cat([drawn_vectors, model.entities(elsewhere)], dim=1)
        metrics = {}
        if measure and number:
            metrics = self._metrics(log_p, by_modality, similarities, pool, temperature)
            metrics["hardness"] = hardness(model, queries, anchors, vectors[: pool.size], known, drawn, drawable)
        return Negatives(
            ids=torch.cat([pool.candidates[drawn], elsewhere], dim=1),
            vectors=drawn_vectors,
            given=None if drawn_vectors is None else (anchors, F.embedding(pool.positives[:, 0], vectors)),
            valid=torch.cat([drawable, there], dim=1),
            correction=self._correction(log_p, perturbed, drawn, elsewhere, guarded),
            metrics=metrics,
            memory=DrawMemory(
                pool, similarities, known, guarded, real & (pool.positives >= pool.size), drawn, drawable, beta
            ),
        )

    def loss(self, negatives: Negatives, weights: Tensor) -> Tensor:
        """beta L_con, where beta is not 0 at this step."""
        memory: DrawMemory | None = negatives.memory
        if memory is None or memory.weight == 0:
            return super().loss(negatives, weights)
        return contrast(memory, self.config, self.context.answers.num_entities, weights)

    def distribution(
        self,
        similarities: Similarities,
        pool: Pool,
        known: Tensor,
        guarded: Tensor | None,
        step: int,
        temperature: float | Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], float | Tensor]:
        """p over the candidates, before any is masked; by modality; and epsilon.

        Args:
            known, guarded: (B, P) bool, what the draw leaves out or takes less often; a target entropy is reached with
                that taken into account.
            temperature: epsilon, where it was settled before; None: by the step's schedule or target.
        """
        config, answer = self.config, pool.positives[:, 0]
        answer_present = {name: present[answer] for name, present in similarities.present.items()}
        candidate_present = {name: present[: pool.size] for name, present in similarities.present.items()}
        solve = temperature is None and config.entropy_target > 0
        if temperature is None:
            temperature = exploration_temperature(config.exploration, max(step, 1), config.exploration_schedule)
        if solve:
            some = solving_rows(len(answer), known.device)
            allowed = (~known[some]).to(next(iter(similarities.to_candidates.values())).dtype)
            if guarded is not None:
                allowed = torch.where(guarded[some], config.guard_weight * allowed, allowed)
            similarity = {name: values.detach()[some] for name, values in similarities.to_candidates.items()}
            present = {name: values[some] for name, values in answer_present.items()}

            def drawn_from(temperature: Tensor) -> Tensor:
                p = sampling_distribution(similarity, present, candidate_present, temperature)[0] * allowed
                return p / p.sum(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)

            target = entropy_target(config, self.context.progress(step))
            temperature = solve_temperature(drawn_from, allowed > 0, target)
        p, by_modality = sampling_distribution(
            similarities.to_candidates, answer_present, candidate_present, temperature
        )
        return p, by_modality, temperature

    def similarities(self, queries: Queries, model: KnowledgeGraphModel, pool: Pool, vectors: Tensor) -> Similarities:
        """Similarity of each query's answer to the pool's candidates and to its other known answers.

        Args:
            pool: candidates and positives.
            vectors: (P + X, w) entity vectors of the pool's rows.
        """
        distinct, rows = ByRelation.of(queries.relation)
        relations = model.relations(distinct)
        if self.config.sampler_detach:
            vectors, relations = vectors.detach(), relations.detach()
        # Many queries share an answer and a relation: each such pair is attended to once.
        pairs = rows.relation[:, None] * len(pool.rows) + pool.positives
        pairs, place = torch.unique(pairs, return_inverse=True)
        entity_of_pair, relation_of_pair = pairs % len(pool.rows), pairs // len(pool.rows)
        result = Similarities({}, {}, {})

        epsilon = self.config.cosine_epsilon
        # Blocks that stay in the cache are for a CPU, and their gradients by hand for one precision.
        by_blocks = not (vectors.is_cuda or torch.is_autocast_enabled("cpu"))

        def keep(name: str, positives: Tensor, to_candidates: Tensor, present: Tensor) -> None:
            result.to_candidates[name] = widened(to_candidates)
            result.to_positives[name] = widened(cosine(positives[:, :1], positives, epsilon))
            result.present[name], result.answers[name] = present, positives[:, 0]

        def compare(name: str, crossed: Tensor, paired: Tensor, present: Tensor, squares: Tensor | None = None) -> None:
            if self.config.similarity != "cosine":
                mean, scale = spread(crossed, present[: pool.size], self.config.similarity)
                crossed, squares = (crossed - mean[:, None]) / scale[:, None], None
                paired = (paired - F.embedding(relation_of_pair, mean)) / F.embedding(relation_of_pair, scale)
            positives = F.embedding(place, paired)  # (B, K, a)
            keep(name, positives, cosine_by_relation(positives[:, 0], crossed, rows, epsilon, squares), present)

        if self.attention is not None and self.context.features is not None:
            features = {
                name: self.context.features.gather(name, pool.rows, widen=not by_blocks)
                for name in self.context.features.modalities
            }
            tokens = self.attention.attend(features, only=self.pictured)
            gates = self.attention.gates(relations, only=self.pictured)
            crossed: dict[str, tuple[Tensor, Tensor | None]] = {}
            for name, part in tokens.items():
                branch, attended = self.attention.branch(name), part[: pool.size]
                if by_blocks:
                    crossed[name] = crossed_by_blocks(branch, attended, gates[name])
                else:
                    crossed[name] = branch.crossed(attended, gates[name]), None
            paired = self.attention.paired(
                {name: part[entity_of_pair] for name, part in tokens.items()},
                {name: gate.index_select(0, relation_of_pair) for name, gate in gates.items()},
            )
            for name in self.pictured:
                z, squares = crossed[name]
                compare(name, z, paired[name], features[name][1].any(1), squares)
        if self.structure is not None:
            everywhere = torch.ones(len(pool.rows), dtype=torch.bool, device=vectors.device)
            candidates = vectors[: pool.size]
            of_pair = F.embedding(entity_of_pair, vectors), F.embedding(relation_of_pair, relations)
            paired_structure = self.structure.paired(*of_pair)
            if self.config.similarity != "standardised" and by_blocks:
                positives, centred = F.embedding(place, paired_structure), self.config.similarity == "centred"
                to_candidates, mean = gated_cosine(
                    self.structure, candidates, relations, positives[:, 0], rows, epsilon, centred
                )
                positives = positives - F.embedding(rows.relation, mean)[:, None] if centred else positives
                keep(STRUCTURE, positives, to_candidates, everywhere)
            else:
                compare(STRUCTURE, self.structure.crossed(candidates, relations), paired_structure, everywhere)
        return result

    def _positives(
        self, queries: Queries, rows: Tensor, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(B, 1 + k) each query's answer and up to k = `number` other known answers, and which of them are real."""
        answer = queries.answer[:, None]
        # One more, since the answer itself may be among them; what is no other known answer goes to the end.
        others, real = self.context.answers.window(rows, number + 1 if number else 0, generator)
        real, order = (real & (others != answer)).sort(dim=1, descending=True, stable=True)
        real, others = real[:, :number], others.gather(1, order)[:, :number]
        return torch.cat([answer, torch.where(real, others, answer)], dim=1), torch.cat(
            [torch.ones_like(answer, dtype=torch.bool), real], dim=1
        )

    def guarded(
        self,
        queries: Queries,
        model: KnowledgeGraphModel,
        pool: Pool,
        vectors: Tensor,
        anchors: Tensor,
        similarities: Similarities,
        known: Tensor,
    ) -> Tensor | None:
        """(B, P) bool: candidates that --guard takes for likely answers; None without a guard."""
        if self.config.guard == "none":
            return None
        if self.co_answers is not None:
            return self.co_answers.columns(queries.answer, pool) & ~known
        if self.config.guard == "similarity":
            values = mean_similarity(similarities, pool)
        else:
            with torch.no_grad():
                values = model.score_shared(queries, vectors[: pool.size], anchors)
        return highest(values, self.config.guard_share, ~known & (values > -torch.inf))

    def _correction(
        self, log_p: Tensor, perturbed: Tensor, drawn: Tensor, elsewhere: Tensor, guarded: Tensor | None
    ) -> Tensor | None:
        """--importance-correction times log(p_j / uniform) of what was drawn, 0 of uniform draws: (B, n), or None.

        With --correction-for inclusion, of the probabilities to be among the n that were drawn in the place of p_j.

        What the guard marks is not weighed back: in the mean it counts --guard-weight times what it would unmarked.

        Each of the two kinds of draws estimates the same sum over all entities, so they need no weights between them.
        """
        if not self.config.importance_correction:
            return None
        with torch.no_grad():
            possible = (log_p > -torch.inf).sum(1, keepdim=True).clamp_min(1).to(log_p.dtype)
            if self.config.correction_for == "inclusion":
                number = possible.clamp_max(max(1, drawn.shape[1]))
                odds = inclusion(log_p, perturbed, drawn) + (possible / number).log()
            else:
                odds = torch.log_softmax(log_p, dim=1).gather(1, drawn) + possible.log()
            if guarded is not None:
                odds = torch.where(guarded.gather(1, drawn), odds - log_of(self.config.guard_weight), odds)
            # What could not be drawn is weighed 0 in any case.
            odds = odds.masked_fill(~odds.isfinite(), 0.0)
            return self.config.importance_correction * torch.cat(
                [odds, torch.zeros_like(elsewhere, dtype=odds.dtype)], 1
            )

    def _contrastive_weight(self, progress: float) -> float:
        """beta at a share of the run."""
        config = self.config
        early = config.contrastive_warmup > 0 and progress <= config.contrastive_warmup
        return config.contrastive_warmup_weight if early else config.contrastive_weight

    def _metrics(
        self,
        log_p: Tensor,
        by_modality: dict[str, Tensor],
        similarities: Similarities,
        pool: Pool,
        temperature: float | Tensor,
    ) -> dict[str, Tensor]:
        """Entropy of what is drawn from, in all and by modality before known answers are masked; and epsilon.

        A modality's is over the answers that have it: others are drawn for without it.
        """
        with torch.no_grad():
            metrics = {}
            for name, value in by_modality.items():
                present = similarities.present[name]
                both = present[pool.positives[:, :1]] & present[: pool.size]
                metrics[f"entropy/{name}"] = normalised_entropy(value, both)
            metrics["entropy/all"] = normalised_entropy(torch.softmax(log_p, dim=1), log_p > -torch.inf)
            metrics["epsilon"] = torch.as_tensor(temperature, dtype=log_p.dtype, device=log_p.device)
        return metrics
