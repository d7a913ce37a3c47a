"""How hard a sampler's negatives are for the model beside uniform ones, over questions of train."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmrns.analysis.result import Hardness, Options
from mmrns.explanation import Explainer
from mmrns.explanation.sampling import distribution
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.negatives.mmrns import MMRNS

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

# Questions that are looked at together: their distributions are as wide as the graph.
_BLOCK = 32
_MOST_QUESTIONS = 256
NEGLIGIBLE = "too little to matter"
# Cohen (1988): a difference below 0.2 standard deviations is called less than small; 0.5 medium, 0.8 large.
_EFFECTS = ((0.2, NEGLIGIBLE), (0.5, "a little"), (0.8, "moderately"), (np.inf, "much"))


@dataclass(frozen=True)
class Draws:
    """What the sampler and a uniform one draw for each of Q questions, in expectation.

    Attributes:
        score, uniform_score: (Q,) mean score of a negative.
        variance: (Q,) of the scores of a uniform draw.
        above, uniform_above: (Q,) probability that a negative scores above the true answer.
        entropy: (Q,) over that of an even distribution: 1 is uniform.
        held_out, uniform_held_out: (Q,) probability that a draw is an answer in valid or test.
    """

    score: Values
    uniform_score: Values
    variance: Values
    above: Values
    uniform_above: Values
    entropy: Values
    held_out: Values
    uniform_held_out: Values

    @property
    def effect(self) -> float:
        """Mean difference of the scores over the standard deviation of a uniform draw's (within questions)."""
        deviation = max(float(np.sqrt(self.variance.mean())), 1e-12)
        return float((self.score - self.uniform_score).mean()) / deviation


def magnitude(effect: float) -> str:
    """What an effect is called, whatever its sign."""
    return next(name for limit, name in _EFFECTS if abs(effect) < limit)


def in_deviations(effect: float) -> str:
    """An effect in figures, whatever its sign."""
    return f"by {abs(effect):.2f} standard deviations of a uniform draw's scores"


@torch.inference_mode()
def compare_draws(
    explainer: Explainer, sampler: MMRNS, triples: Rows, candidates: Tensor | None = None, at_once: int = _BLOCK
) -> Draws:
    """Compare the sampler with uniform draws: of (N, 3) triples, the first half asks for tails, the rest for heads.

    Args:
        explainer: of the run.
        sampler: of the run.
        triples: one question each.
        candidates: rows of entities, sorted, that either may draw; None: all.
        at_once: questions whose distributions are held together.
    """
    model, step = explainer.trained.model, explainer.trained.step
    known = explainer.dataset.answers()  # none of train's is drawn: what is left of them are held out
    columns: list[Tensor] = []
    for direction, half in zip((TAIL, HEAD), np.array_split(triples, 2), strict=True):
        for block in torch.from_numpy(half).split(at_once) if len(half) else ():
            queries = Queries.of(block, direction)
            spread = distribution(sampler, model, queries, step, candidates)
            asked = zip(queries.anchor.split(_BLOCK), queries.relation.split(_BLOCK), strict=True)
            scores = torch.cat([model.score_all(anchor, relation, direction).float() for anchor, relation in asked])
            above = scores > scores.gather(1, queries.answer[:, None])
            answers = torch.zeros_like(above)
            answers[known.pairs(known.rows(queries))] = True
            drawn, uniform = spread.drawn, spread.uniform
            mean = (uniform * scores).sum(1)
            found = [(drawn * scores).sum(1), mean, (uniform * (scores - mean[:, None]).square()).sum(1)]
            found += [(drawn * above).sum(1), (uniform * above).sum(1), spread.entropy]
            found += [(drawn * answers).sum(1), (uniform * answers).sum(1)]
            columns.append(torch.stack(found).double())
    return Draws(*torch.cat(columns, dim=1).numpy())


def hardness(explainer: Explainer, options: Options) -> Hardness | None:
    """How hard the sampler's negatives are for the model, over up to 256 train triples, half of them a direction."""
    sampler, train = explainer.sampler, explainer.dataset.train
    number = min(_MOST_QUESTIONS, options.pairs, len(train))
    if sampler is None or not number:
        return None
    rng = np.random.default_rng([options.seed, 4])
    draws = compare_draws(explainer, sampler, train[rng.permutation(len(train))[:number]])
    return Hardness(
        questions=number,
        expected_score=float(draws.score.mean()),
        uniform_score=float(draws.uniform_score.mean()),
        harder=float((draws.score > draws.uniform_score).mean()),
        entropy=float(draws.entropy.mean()),
        held_out_mass=float(draws.held_out.mean()),
        uniform_held_out_mass=float(draws.uniform_held_out.mean()),
        reading=_reading(draws.effect),
    )


def _reading(effect: float) -> str:
    kind = "harder" if effect > 0 else "easier"
    return f"the sampler's negatives are {kind} than uniform ones, {magnitude(effect)}: {in_deviations(effect)}"
