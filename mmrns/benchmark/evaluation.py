"""What filtered ranking costs: ours, and as it is often written."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmrns.benchmark.alternation import Phases, Side, mark
from mmrns.config import Config
from mmrns.evaluation import rank_triples
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL
from mmrns.graph.dataset import load_dataset
from mmrns.processes import device_of
from mmrns.scoring import KnowledgeGraphModel
from mmrns.scoring.model import model_of


@dataclass(frozen=True)
class RankingSide(Side):
    """Ranks both ends of some triples of test among all entities, other known answers left out.

    Attributes:
        config: dataset, model and its width.
        triples: how many of test, from a seeded shuffle; 0: all.
    """

    config: Config
    triples: int = 0

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return device_of(self.config.device)

    @property
    def work(self) -> int:
        """Queries: two a triple."""
        return 2 * len(self.load()[2])

    def load(self) -> tuple[Dataset, KnowledgeGraphModel, NDArray[np.int64]]:
        """Dataset, a model with random weights (the same for every side), and the triples to rank."""
        dataset = load_dataset(self.config.dataset)
        torch.manual_seed(self.config.seed)
        model = model_of(self.config, len(dataset.entities), len(dataset.relations)).eval().to(self.device)
        order = np.random.default_rng(self.config.seed).permutation(len(dataset.test))
        return dataset, model, dataset.test[order[: self.triples or None]]


class CheckedRanking(RankingSide):
    """One whose ranks are compared with those of others."""

    @abstractmethod
    def ranks(self) -> NDArray[np.float64]:
        """(Q,) mean ranks, head queries first, each in the triples' order."""


class OurRanking(CheckedRanking):
    """`mmrns.evaluation.rank_triples`."""

    def prepare(self) -> Callable[[], Phases]:
        """Load; known answers are indexed beforehand, as one index serves a whole run."""
        dataset, model, triples = self.load()
        known = dataset.answers().to(self.device)
        scoring = 0.0
        score_all = model.score_all

        def timed(*arguments: object) -> object:
            nonlocal scoring
            started = mark()
            scores = score_all(*arguments)  # type: ignore[arg-type]
            scoring += mark() - started
            return scores

        model.score_all = timed  # type: ignore[assignment, method-assign]

        def rank() -> Phases:
            nonlocal scoring
            scoring, started = 0.0, mark()
            rank_triples(model, triples, known, self.config.eval_memory_mb)
            return {"scores": scoring, "ranks": mark() - started - scoring}

        return rank

    def ranks(self) -> NDArray[np.float64]:
        """Ours."""
        dataset, model, triples = self.load()
        return rank_triples(model, triples, dataset.answers().to(self.device), self.config.eval_memory_mb).rank


class NaiveRanking(RankingSide):
    """A query at a time: every candidate scored by the formula, known answers left out by a list, and a sort."""

    def prepare(self) -> Callable[[], Phases]:
        """Load, and put the known answers into Python sets."""
        dataset, model, triples = self.load()
        known: dict[tuple[int, int, int], set[int]] = {}
        for head, relation, tail in np.concatenate([dataset.train, dataset.valid, dataset.test]).tolist():
            known.setdefault((TAIL, head, relation), set()).add(tail)
            known.setdefault((HEAD, tail, relation), set()).add(head)

        def rank() -> Phases:
            naive_ranks(model, triples, known)
            return {}

        return rank


@torch.no_grad()
def naive_ranks(
    model: KnowledgeGraphModel, triples: NDArray[np.int64], known: dict[tuple[int, int, int], set[int]]
) -> list[int]:
    """Ranks of both ends of (N, 3) triples, head queries first: the place in the sorted list of what is left."""
    everything = model.entities.everything()
    ranks = []
    for direction in (HEAD, TAIL):
        for head, relation, tail in triples.tolist():
            given, answer = (head, tail) if direction == TAIL else (tail, head)
            of_relation, of_given = model.relations.weight[relation], everything[given]
            ends = (of_given, everything) if direction == TAIL else (everything, of_given)
            scores = model.scoring.score(ends[0], of_relation, ends[1])
            for other in known[direction, given, relation]:
                if other != answer:
                    scores[other] = -torch.inf
            order = torch.argsort(scores, descending=True).tolist()
            ranks.append(order.index(answer) + 1)
    return ranks
