"""Alignment and uniformity of vectors on the unit sphere (Wang and Isola, ICML 2020), and their course in training."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrns.graph.answers import AnswerIndex
from mmrns.scoring import KnowledgeGraphModel

# Of what is measured at each validation: a few milliseconds, and a standard error below that of what it shows.
_PAIRS, _ENTITIES = 1024, 512


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """Mean of ||x - y||² over the positive pairs (N, d), both scaled to length 1; 0 is perfect, 2 unrelated."""
    return (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean()


def uniformity(x: Tensor) -> Tensor:
    """log of the mean over pairs of exp(-2 ||x - y||²), rows of (N, d) scaled to length 1; 0 is a single point."""
    return torch.pdist(F.normalize(x, dim=1)).square().mul(-2).exp().mean().log()


def uniformity_of_pairs(x: Tensor, y: Tensor) -> Tensor:
    """`uniformity` over given pairs (N, d), where not every two vectors can be compared."""
    return (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mul(-2).exp().mean().log()


def positive_pairs(answers: AnswerIndex, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Up to `number` pairs of distinct answers of one query, a query drawn evenly among those with several.

    Returns:
        (N,) and (N,) entities, and (N,) the query's relation; all empty where no query has two answers.
    """
    several = (answers.counts > 1).nonzero()[:, 0]
    if not len(several):
        empty = several
        return empty, empty, empty
    rows = several[torch.randint(len(several), (number,), generator=generator)]
    count, offset = answers.counts[rows], answers.offsets[rows]
    uniform = torch.rand(2, number, generator=generator, dtype=torch.float64)
    first = (uniform[0] * count).long().clamp_max(count - 1)
    second = (first + 1 + (uniform[1] * (count - 1)).long().clamp_max(count - 2)) % count
    return answers.answers_at(offset + first), answers.answers_at(offset + second), answers.queries(rows)[:, 1]


class EmbeddingCourse:
    """Alignment and uniformity of the entity vectors on a sample that is drawn once and stays the same."""

    def __init__(self, answers: AnswerIndex, seed: int) -> None:
        """Draw from train's answers (on the CPU), by `seed` alone."""
        generator = torch.Generator().manual_seed(seed)
        self._first, self._second, _ = positive_pairs(answers, _PAIRS, generator)
        self._others = torch.randperm(answers.num_entities, generator=generator)[:_ENTITIES]

    @torch.inference_mode()
    def __call__(self, model: KnowledgeGraphModel) -> dict[str, float]:
        """Both numbers of the model's entities now; those that the graph is too small for are left out."""
        device, training = next(model.parameters()).device, model.training
        found = {}
        model.eval()  # as entities are ranked: none is dropped
        if len(self._first):
            ends = (model.entities(rows.to(device)).float() for rows in (self._first, self._second))
            found["alignment"] = float(alignment(*ends))
        if len(self._others) > 1:
            found["uniformity"] = float(uniformity(model.entities(self._others.to(device)).float()))
        model.train(training)
        return found
