"""From scores to probabilities, fitted on held-out facts; and how good such probabilities are.

A proposed fact is described by its share of its question, a softmax of the scores at a temperature (Guo et al., ICML
2017: the one that minimises the negative log-likelihood of held-out answers), and by how many known answers its two
questions have already, none above all, judged for its relation and direction: a language may have a second country, a
country hardly a second week. A logistic regression of these (Platt, 1999, with more than the score) orders facts across
questions; isotonic regression (Zadrozny and Elkan, KDD 2002) makes probabilities of that order, over facts that count
once, with the better of their two questions, as they are listed. Of two answers to one question whose other questions
have as many known answers, the one that scores higher never gets the lower probability.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mmrns.errors import UserError
from mmrns.evaluation.candidates import Candidates

Method = Literal["isotonic", "logistic"]

# Below this many true facts there is nothing to fit.
LEAST_TRUE = 5
# Relations with fewer true facts than this are given the threshold of all relations together.
LEAST_FOR_THRESHOLD = 10
# Log-odds beyond which e^-40 of all facts, which is none of them, is expected otherwise.
_SURELY = 40.0


@dataclass(frozen=True)
class Calibrator:
    """Turns candidates into probabilities; plain numbers, so that it is kept as JSON.

    Attributes:
        method: "isotonic" (on the logistic order) or "logistic".
        temperature: of the share.
        weights: of share, log(1 + known), log(1 + other known), no known, no other known. The first is not negative,
            so that a higher score never counts against a fact.
        intercept: of everything.
        by_relation: (6 R,) intercepts: 2 r + d for relation r asked in direction d; 2 R + 2 r + d where the question
            has no known answer; 4 R + 2 r + d where the other question has none.
        knots: of the isotonic step function, log-odds and probabilities; empty for "logistic".
    """

    method: Method
    temperature: float
    weights: list[float]
    intercept: float
    by_relation: list[float]
    knots: tuple[list[float], list[float]]

    @classmethod
    def fit(
        cls,
        candidates: Candidates,
        true: NDArray[np.bool_],
        num_relations: int,
        temperature: float,
        method: Method = "isotonic",
    ) -> "Calibrator":
        """Fit to candidates of which `true` (N,) were found to be facts.

        The order is fitted to all of them, the probabilities to facts that count once, by the better of their rows.

        Raises:
            UserError: too few of them are true, or none is false.
        """
        positives = int(true.sum())
        if positives < LEAST_TRUE or positives == len(true):
            raise UserError(
                f"--calibration {method}: valid holds {positives} of the {len(true)} facts proposed, too few to judge "
                "probabilities by; give --calibration none, or more facts in valid.txt"
            )
        features = _features(candidates, num_relations)
        # Newton's method takes a dozen steps where others stop short of the optimum.
        model = LogisticRegression(solver="newton-cholesky").fit(features, true)
        if model.coef_[0, 0] < 0:  # a share that counts against facts is noise of an untrained model: leave it out
            features = features.multiply(np.arange(features.shape[1]) > 0).tocsr()
            model.fit(features, true)
        numbers = features.shape[1] - 6 * num_relations
        fitted = cls(
            method=method,
            temperature=temperature,
            weights=model.coef_[0, :numbers].tolist(),
            intercept=float(model.intercept_[0]),
            by_relation=model.coef_[0, numbers:].tolist(),
            knots=([], []),
        )
        log_odds = fitted.log_odds(candidates)
        once = candidates.each_fact_once(log_odds)
        log_odds, true = log_odds[once], true[once]
        if method == "logistic":
            return replace(fitted, intercept=fitted.intercept + _shift(log_odds, true))
        # Laplace's rule of succession at both ends: as if one fact more had been seen there that goes against them.
        isotonic = IsotonicRegression(out_of_bounds="clip")
        isotonic.fit(np.append(log_odds, [log_odds.min(), log_odds.max()]), np.append(true, [True, False]))
        return replace(fitted, knots=(isotonic.X_thresholds_.tolist(), isotonic.y_thresholds_.tolist()))

    def log_odds(self, candidates: Candidates) -> NDArray[np.float64]:
        """(N,) of the logistic regression: the order of facts across questions, without the isotonic one's ties."""
        features = _features(candidates, len(self.by_relation) // 6)
        found: NDArray[np.float64] = features @ np.array([*self.weights, *self.by_relation]) + self.intercept
        return found

    def probability(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (N,) of log-odds (N,); never falling."""
        return np.interp(log_odds, *self.knots) if self.method == "isotonic" else expit(log_odds)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Calibrator":
        """Undo `as_json`; raises TypeError, ValueError or KeyError for anything else."""
        first, second = values["knots"]
        return cls(**{**values, "knots": (list(first), list(second))})


def _shift(log_odds: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """What to add to log-odds (N,) so that as many are expected to be true as are; some must be, and not all."""

    def too_many(shift: float) -> float:
        return float(expit(log_odds + shift).sum() - true.sum())

    return float(brentq(too_many, -_SURELY - log_odds.max(), _SURELY - log_odds.min()))


def _features(candidates: Candidates, num_relations: int) -> sparse.csr_array:
    """What the regression sees of N candidates: (N, 5 + 6 R), columns as `weights` and then `by_relation`."""
    none, other_none = candidates.known == 0, candidates.other_known == 0
    counts = np.log1p(candidates.known), np.log1p(candidates.other_known)
    numbers = np.stack([candidates.share, *counts, none, other_none], axis=1)
    rows, width = np.arange(len(candidates)), 2 * num_relations
    place = 2 * candidates.relation + candidates.direction
    one_hot = [
        sparse.csr_array((np.ones(where.sum()), (rows[where], place[where])), shape=(len(rows), width))
        for where in (np.ones_like(none), none, other_none)
    ]
    return sparse.hstack([sparse.csr_array(numbers), *one_hot]).tocsr()


def reliability(
    probability: NDArray[np.float64], true: NDArray[np.bool_], bins: int = 10
) -> list[dict[str, float | int]]:
    """A reliability diagram: bins of neighbouring probabilities, and what share of each came true.

    Facts are sorted by probability and cut where the expected number of true ones passes the next of `bins` equal
    parts, since most of them are improbable; equal probabilities stay together.

    Returns:
        For each bin, from low to high: "mean" probability, "observed" share, "low" and "high" ends of its 95 % Wilson
        interval, "count".
    """
    order = np.argsort(probability, kind="stable")
    p, y = probability[order], true[order]
    total = float(p.sum())
    if not len(p) or total == 0:
        return []
    part = np.minimum((np.cumsum(p) - p) / total * bins, bins - 1e-9).astype(np.int64)
    # A run of ties goes where its first member went.
    first = np.concatenate([[True], p[1:] != p[:-1]])
    part = part[np.maximum.accumulate(np.where(first, np.arange(len(p)), 0))]
    found = []
    for number in np.unique(part):
        inside = part == number
        count, hits = int(inside.sum()), int(y[inside].sum())
        low, high = stats.binomtest(hits, count).proportion_ci(method="wilson")
        ends = {"low": float(low), "high": float(high)}
        found.append({"mean": float(p[inside].mean()), "observed": hits / count, **ends, "count": count})
    return found


def calibration_errors(
    probability: NDArray[np.float64], true: NDArray[np.bool_], bins: int = 10
) -> dict[str, float | int]:
    """How far probabilities are from what came true.

    Returns:
        "ece": mean |observed - mean| over the bins of `reliability`, weighted by their counts; "brier": mean squared
        error; "expected" and "observed": number of true facts.
    """
    diagram = reliability(probability, true, bins)
    total = sum(bin["count"] for bin in diagram)
    error = sum(bin["count"] * abs(bin["observed"] - bin["mean"]) for bin in diagram) / total if total else 0.0
    brier = float(((probability - true) ** 2).mean()) if len(true) else 0.0
    return {"ece": error, "brier": brier, "expected": float(probability.sum()), "observed": int(true.sum())}


def precision_at(
    order: NDArray[np.float64], true: NDArray[np.bool_], held_out: int, cutoffs: list[int]
) -> list[dict[str, float | int]]:
    """Precision and recall of the first k facts, for k of `cutoffs` up to N.

    Args:
        order: (N,) best is highest; ties count in expectation, as if in random order.
        true: (N,) which of them are held-out facts.
        held_out: number of held-out facts there are to be found.
    """
    if not len(order):
        return []
    values, group, sizes = np.unique(-order, return_inverse=True, return_counts=True)
    hits = np.bincount(group, weights=true, minlength=len(values))
    expected = np.interp(
        np.arange(len(order) + 1), np.concatenate([[0], sizes.cumsum()]), np.concatenate([[0.0], hits.cumsum()])
    )
    return [
        {"k": k, "precision": float(expected[k] / k), "recall": float(expected[k] / held_out) if held_out else 0.0}
        for k in cutoffs
        if 1 <= k <= len(order)
    ]


def threshold_by_relation(
    probability: NDArray[np.float64],
    true: NDArray[np.bool_],
    relation: NDArray[np.int64],
    num_relations: int,
    precision: float,
) -> list[float | None]:
    """For each relation, the lowest probability from which on at least `precision` of the facts came true.

    Relations with fewer than LEAST_FOR_THRESHOLD true facts take the threshold of all together. None: no threshold
    reaches the precision.
    """
    of_all = _threshold(probability, true, precision)
    count = np.bincount(relation[true], minlength=num_relations)
    return [
        _threshold(probability[relation == r], true[relation == r], precision)
        if count[r] >= LEAST_FOR_THRESHOLD
        else of_all
        for r in range(num_relations)
    ]


def _threshold(probability: NDArray[np.float64], true: NDArray[np.bool_], precision: float) -> float | None:
    order = np.argsort(-probability, kind="stable")
    p, hits = probability[order], np.cumsum(true[order])
    last = np.concatenate([p[1:] != p[:-1], [True]]) if len(p) else np.zeros(0, dtype=bool)  # ties stand together
    good = last & (hits >= precision * np.arange(1, len(p) + 1)) & (hits > 0)
    return float(p[np.flatnonzero(good)[-1]]) if good.any() else None
