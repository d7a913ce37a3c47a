"""How sharp the sampling distribution is at a step: epsilon by schedule or by target entropy, and uniform draws.

The published schedule sets epsilon and leaves the entropy to whatever the cosines are. A target entropy does the
reverse: epsilon is solved at each step, so that hardness is what was asked for, whatever the similarities do.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mmrns.config import Config
from mmrns.graph.answers import Queries
from mmrns.scoring import KnowledgeGraphModel

# Epsilon is looked for between these by halving their ratio, in logarithms: 2 % after ten halvings, 0.1 % after 14.
_LOWEST, _HIGHEST, _HALVINGS = 1e-3, 1e2, 14
# A batch's rows are exchangeable, so that a part of them settles epsilon at a fraction of the cost.
_ROWS = 32


def exploration_temperature(initial: float, step: int, schedule: str = "log") -> float:
    """The published schedule, epsilon = epsilon_0 / (1 + log(step)), step from 1; or epsilon_0 where it is constant."""
    return initial if schedule == "constant" else initial / (1.0 + math.log(step))


def entropy_target(config: Config, progress: float) -> float:
    """Normalised entropy to reach: from 1 to --entropy-target over --entropy-anneal of the run, and then constant.

    Args:
        progress: share of the run that is done, 0 to 1.
    """
    done = min(1.0, progress / config.entropy_anneal) if config.entropy_anneal else 1.0
    if config.entropy_schedule == "cosine":
        done = 0.5 * (1.0 - math.cos(math.pi * done))
    return 1.0 + (config.entropy_target - 1.0) * done


def solve_temperature(distribution: Callable[[Tensor], Tensor], possible: Tensor, target: float) -> Tensor:
    """The temperature at which the mean normalised entropy of the distribution's rows is the target.

    Bisection with a fixed number of halvings and no look at a value, so a GPU is never waited for. The entropy of a
    softmax grows with its temperature; that of a mean of several does in practice, and a crossing is found in any case.
    A target that no temperature between 0.001 and 100 reaches gives the nearer of the two.

    Args:
        distribution: 0-dim temperature -> (B, P), rows summing to 1.
        possible: (B, P) bool, what can be drawn at all.

    Returns:
        0-dim tensor without gradient.
    """
    with torch.no_grad():
        low, high = (torch.full((), math.log(bound), device=possible.device) for bound in (_LOWEST, _HIGHEST))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = normalised_entropy(distribution(middle.exp()), possible) > target
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return ((low + high) / 2).exp()


def solving_rows(number: int, device: torch.device) -> Tensor:
    """Rows of a batch of `number`, evenly spaced, that stand for all of them when a temperature is solved."""
    rows = min(_ROWS, number)
    return torch.arange(rows, device=device) * number // max(1, rows)


def normalised_entropy(p: Tensor, possible: Tensor | None = None) -> Tensor:
    """Entropy of each row (B, P) over the log of its number of outcomes, mean over rows: 1 is uniform.

    Rows with fewer than two outcomes have nothing to choose, and do not count; where no row counts, it is 0.

    Args:
        p: (B, P), rows summing to 1.
        possible: bool, broadcast to (B, P), the outcomes that count; by default those with mass.
    """
    outcomes = (p > 0 if possible is None else possible.expand_as(p)).sum(1)
    counts = outcomes > 1
    entropy = torch.special.entr(p).sum(1) / outcomes.clamp_min(2).log()
    return torch.where(counts, entropy, 0).sum() / counts.sum().clamp_min(1)


def drawn_from_pool(config: Config, progress: float) -> int:
    """How many of the n negatives come from the similarity's distribution; the others are uniform over the graph.

    None in the first --uniform-warmup of the run, then all but --uniform-share of them.
    """
    if progress <= config.uniform_warmup and config.uniform_warmup:
        return 0
    return config.pool_negatives


@torch.no_grad()
def hardness(
    model: KnowledgeGraphModel,
    queries: Queries,
    anchors: Tensor,
    vectors: Tensor,
    known: Tensor,
    drawn: Tensor,
    drawable: Tensor,
) -> Tensor:
    """Mean model score of what was drawn from the pool, less that of uniform draws from it; 0 for uniform sampling.

    The latter is the mean over all candidates that are no known answers, so that it has no noise of its own. Some rows
    stand for the batch; those that could draw nothing do not count, and where no row counts, it is 0.

    Args:
        anchors: (B, w) vectors of the queries' anchors.
        vectors: (P, w) candidates.
        known: (B, P) bool, known answers.
        drawn, drawable: (B, n) columns, and which of them were drawn.
    """
    some = solving_rows(len(known), known.device)
    part = Queries(queries.anchor[some], queries.relation[some], queries.answer[some], queries.direction)
    scores, drawable, unknown = model.score_shared(part, vectors, anchors[some]), drawable[some], ~known[some]
    of_drawn = (scores.gather(1, drawn[some]) * drawable).sum(1) / drawable.sum(1).clamp_min(1)
    of_uniform = (scores * unknown).sum(1) / unknown.sum(1).clamp_min(1)
    counts = drawable.any(1)
    return torch.where(counts, of_drawn - of_uniform, 0).sum() / counts.sum().clamp_min(1)
