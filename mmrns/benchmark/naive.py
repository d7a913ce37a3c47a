"""MMRNS transcribed from its equations, as one writes them down in torch without sharing anything.

The yardstick of `mmrns benchmark step`. It trains the same parameters as our objective and computes the same numbers
(tests/benchmark), but: candidates are attended to once for every triple, in tensors of triples x candidates; negatives
are drawn one after another, each with a softmax over what remains and a product of its one-hot row with all candidate
vectors; known answers are looked up in Python sets, one candidate at a time. That is also how the authors' released
program works.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrns.benchmark.alternation import Phases, Side
from mmrns.benchmark.step import Shapes, Stepper
from mmrns.config import Config
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.negatives.attention import CrossModalAttention, StructureGate
from mmrns.negatives.mmrns import MMRNS
from mmrns.training.sampled import SampledObjective

_PAIRS = 96_000


@dataclass(frozen=True)
class NaiveStep(Side):
    """A training step by the naive transcription.

    Attributes:
        config: of the run, with the mmrns sampler; every modality must be present.
        random_features: shapes of random features.

    A large batch is worked off in pieces of 96,000 pairs of triple and candidate, whose gradients are added: the
    tensors of a batch of 400 with 1,500 candidates take about 18 GB. The time is that of all rows in any case.
    """

    slow = True

    config: Config
    random_features: Shapes

    @property
    def rows_at_once(self) -> int:
        """Triples in one piece."""
        return max(1, _PAIRS // self.config.pool_size)

    @property
    def work(self) -> int:
        """Triples a step."""
        return self.config.batch_size

    def prepare(self) -> Callable[[], Phases]:
        """Build the same model, sampler and optimiser as OurStep, and the Python sets of known answers."""
        stepper = Stepper(self.config, self.random_features)
        assert isinstance(stepper.objective, SampledObjective)
        naive = NaiveMMRNS(stepper.objective, stepper.triples.tolist())

        def step() -> Phases:
            stepper.done += 1
            triples = stepper.triples[stepper.batches.rows(stepper.done)]
            for part in triples.split(self.rows_at_once):
                loss = naive.loss(part, stepper.done)
                (loss * len(part) / len(triples)).backward()
            stepper.optimizer.step()
            stepper.optimizer.zero_grad()
            return {}

        return step


class NaiveMMRNS:
    """The equations over the parameters of an objective; see docs/method.md, sections 3 to 6."""

    def __init__(self, objective: SampledObjective, train: list[list[int]]) -> None:
        """Read off the parameters; `train` are the triples whose answers must not be drawn."""
        sampler = objective.sampler
        assert isinstance(sampler, MMRNS) and sampler.attention is not None and sampler.structure is not None
        assert sampler.context.features is not None
        self.objective, self.config, self.model = objective, objective.config, objective.model
        self.attention: CrossModalAttention = sampler.attention
        self.structure_gate: StructureGate = sampler.structure
        self.features = sampler.context.features
        self.num_entities = sampler.context.answers.num_entities
        self.known: dict[tuple[int, int, int], set[int]] = {}
        for head, relation, tail in train:
            self.known.setdefault((TAIL, head, relation), set()).add(tail)
            self.known.setdefault((HEAD, tail, relation), set()).add(head)

    def loss(self, triples: Tensor, step: int, pool: Tensor | None = None) -> Tensor:
        """L of (B, 3) triples; candidates (P,) are drawn when they are not given."""
        config = self.config
        anchor, relation, answer, direction = Queries.of(triples, TAIL if step % 2 else HEAD)
        if pool is None:
            pool = torch.randperm(self.num_entities, device=triples.device)[: config.pool_size]
        known = self.mask(anchor, relation, pool, direction)

        similarities = self.similarities(answer, relation, pool)
        p = self.distribution(similarities, step)
        vectors = self.model.entities(pool)
        drawn, columns = self.draw(p, known, vectors)

        relations = self.model.relations(relation)[:, None]
        given = self.model.entities(anchor)[:, None]
        positive = self.score(given, relations, self.model.entities(answer)[:, None], direction)[:, 0]
        negative = self.score(given, relations, drawn, direction)
        weights = torch.softmax(config.adversarial_temperature * negative, dim=1).detach()
        of_negative = (weights * F.logsigmoid(-negative)).sum(1)
        of_triples = torch.tensor([self.frequency(*triple) for triple in triples.tolist()], device=triples.device)
        of_triples = 1 / torch.sqrt(of_triples + 2 * config.subsampling_offset)
        kgc = -(of_triples * (F.logsigmoid(positive) + of_negative)).sum() / (2 * of_triples.sum())
        outside = ~(pool == answer[:, None]).any(1)
        return kgc + config.contrastive_weight * self.contrast(similarities, columns, known, outside, weights)

    def mask(self, anchor: Tensor, relation: Tensor, pool: Tensor, direction: int) -> Tensor:
        """(B, P) bool: the candidate is a known answer, by looking each one up."""
        rows = []
        for a, r in zip(anchor.tolist(), relation.tolist(), strict=True):
            answers = self.known.get((direction, a, r), set())
            rows.append([candidate in answers for candidate in pool.tolist()])
        return torch.tensor(rows, device=pool.device)

    def frequency(self, head: int, relation: int, tail: int) -> float:
        """Train triples of the queries (h, r, ?) and (?, r, t)."""
        return float(len(self.known[TAIL, head, relation]) + len(self.known[HEAD, tail, relation]))

    def similarities(self, answer: Tensor, relation: Tensor, pool: Tensor) -> dict[str, Tensor]:
        """Cosine of every answer with every candidate under the answer's relation: modality -> (B, P)."""
        relations = self.model.relations(relation)[:, None]  # (B, 1, v)
        of_answers = self.kca(answer[:, None], relations)  # (B, 1, a)
        of_pool = self.kca(pool[None], relations)  # (B, P, a)
        of_answers["structure"] = self.structure(answer[:, None], relations)
        of_pool["structure"] = self.structure(pool[None].expand(len(answer), -1), relations)
        return {name: self.cosine(of_answers[name], of_pool[name]) for name in of_pool}

    def kca(self, entities: Tensor, relations: Tensor) -> dict[str, Tensor]:
        """z_i and z_t of entities (B or 1, N) under relations (B, 1, v): (B, N, a)."""
        hidden = {}
        for name in self.features.modalities:
            tokens, _ = self.features.gather(name, entities.flatten())
            tokens = tokens.unflatten(0, tuple(entities.shape))  # (., N, n, D)
            hidden[name] = F.leaky_relu(self.attention.project[name](tokens), self.config.leaky_slope)
        z = {}
        for name, values in hidden.items():
            keys = hidden[self.attention.other[name]]
            branch = self.attention.branch(name)
            affinity = keys @ values.transpose(-1, -2)  # (., N, K, V)
            gate = torch.sigmoid(branch.gate(relations)).unflatten(-1, branch.shape)  # (B, 1, K, V)
            free = branch.norm_free(torch.softmax(affinity, dim=-1) @ values)
            guided = branch.norm_guided((gate * affinity) @ values)  # (B, N, K, a)
            z[name] = branch.output((free + guided).flatten(-2))
        return z

    def structure(self, entities: Tensor, relations: Tensor) -> Tensor:
        """z_s of entities (B, N) under relations (B, 1, v): (B, N, w)."""
        vectors, gate = self.model.entities(entities), self.structure_gate
        first = torch.cat([gate.of_relation.weight, gate.of_entity.weight], dim=1)
        both = torch.cat([relations.expand(-1, entities.shape[1], -1), vectors], dim=-1)
        hidden = F.leaky_relu(F.linear(both, first, gate.of_entity.bias), self.config.leaky_slope)
        return vectors * torch.sigmoid(gate.output(hidden))

    def cosine(self, left: Tensor, right: Tensor) -> Tensor:
        """Of (B, 1, a) and (B, P, a): (B, P)."""
        norms = left.norm(dim=-1) * right.norm(dim=-1)
        return (left * right).sum(-1) / (norms + self.config.cosine_epsilon)

    def distribution(self, similarities: dict[str, Tensor], step: int) -> Tensor:
        """p (B, P): the mean over modalities of softmax(similarity / epsilon)."""
        epsilon = self.config.exploration / (1 + math.log(step))
        return torch.stack([torch.softmax(value / epsilon, dim=1) for value in similarities.values()]).mean(0)

    def draw(self, p: Tensor, known: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """n draws without replacement, one after another: vectors (B, n, w), columns (B, n)."""
        mask = torch.where(known, torch.finfo(p.dtype).tiny, 1.0)
        drawn, columns = [], []
        for _ in range(self.config.num_negatives):
            noise = -torch.log(-torch.log(torch.rand_like(p).clamp_min(torch.finfo(p.dtype).tiny)))
            soft = torch.softmax((p.log() + mask.log() + noise) / self.config.gumbel_temperature, dim=1)
            column = soft.argmax(dim=1)
            hard = F.one_hot(column, p.shape[1]).to(p.dtype)
            drawn.append((hard - soft.detach() + soft) @ vectors)
            columns.append(column)
            mask = torch.where(hard > 0, torch.finfo(p.dtype).tiny, mask)
        return torch.stack(drawn, dim=1), torch.stack(columns, dim=1)

    def score(self, anchor: Tensor, relation: Tensor, candidates: Tensor, direction: int) -> Tensor:
        """RotatE: gamma - sum_i |h_i r_i - t_i|, of (B, 1, .), (B, 1, .), (B, n, .): (B, n)."""
        head, tail = (anchor, candidates) if direction == TAIL else (candidates, anchor)
        phase = relation * (math.pi / self.model.scoring.initial_range)
        (h_re, h_im), (t_re, t_im) = head.chunk(2, dim=-1), tail.chunk(2, dim=-1)
        real = h_re * torch.cos(phase) - h_im * torch.sin(phase) - t_re
        imaginary = h_re * torch.sin(phase) + h_im * torch.cos(phase) - t_im
        return self.config.gamma - torch.stack([real, imaginary]).norm(dim=0).sum(-1)

    def contrast(
        self, similarities: dict[str, Tensor], columns: Tensor, known: Tensor, outside: Tensor, weights: Tensor
    ) -> Tensor:
        """L_con: -log(sum of weighted exp(similarity) of the positives over that of the negatives), mean of all."""
        elsewhere = 1 / self.num_entities
        negative = torch.full(known.shape, elsewhere, device=known.device)
        negative = negative.scatter(1, columns, weights).masked_fill(known, 0.0)
        total = torch.zeros((), device=known.device)
        for value in similarities.values():
            # Known answers in the pool and, where it is not among them, the answer itself, whose cosine is 1.
            above = elsewhere * ((value.exp() * known).sum(1) + math.e * outside)
            below = (value.exp() * negative).sum(1)
            total = total - torch.log(above / below).mean()
        return total / len(similarities)
