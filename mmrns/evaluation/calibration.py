"""From scores to probabilities, fitted on held-out facts; and how good such probabilities are.

A proposed fact is described by its score, by its share of its question (a temperature softmax), and by how many known
answers its two questions have already, none above all, judged for its relation and direction: a language may have a
second country, a country hardly a second week. A logistic regression of these (Platt, 1999, with more than the score)
orders facts across questions; isotonic regression (Zadrozny and Elkan, KDD 2002) makes probabilities of that order. The
temperature is that of Guo et al. (ICML 2017): it minimises the negative log-likelihood of the held-out answers. Of two
facts alike in all but the score, the one that scores higher never gets the lower probability.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mmrns.errors import UserError
from mmrns.evaluation.candidates import Candidates

Method = Literal["isotonic", "logistic"]
METHODS: tuple[Method, ...] = ("isotonic", "logistic")

# Below this many true facts there is nothing to fit.
LEAST_TRUE = 5
# Relations with fewer true facts than this are given the threshold of all relations together.
LEAST_FOR_THRESHOLD = 10
# Inverse of the weight of the L2 penalty; scikit-learn's own default.
_PENALTY_C = 1.0
# Features of the score come first among a candidate's numbers.
_OF_SCORE = 2


@dataclass(frozen=True)
class Calibrator:
    """Turns candidates into probabilities; plain numbers, so that it is kept as JSON.

    Attributes:
        method: "isotonic" (on the logistic order) or "logistic".
        temperature: of the share.
        score_scale: the score is divided by it.
        weights: of score, share, log(1 + known), log(1 + other known), no known, no other known. The first two are not
            negative, so that a higher score never counts against a fact.
        intercept: of everything.
        by_relation: three (2 R,) lists of intercepts, of relation r asked in direction d at 2 r + d: always; where the
            question has no known answer; where the other question has none.
        knots: of the isotonic step function, log-odds and probabilities; empty for "logistic".
    """

    method: Method
    temperature: float
    score_scale: float
    weights: list[float]
    intercept: float
    by_relation: list[list[float]]
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

        Raises:
            UserError: too few of them are true, or none is false.
        """
        positives = int(true.sum())
        if positives < LEAST_TRUE or positives == len(true):
            raise UserError(
                f"--calibration {method}: valid holds {positives} of the {len(true)} facts proposed, too few to judge "
                "probabilities by; give --calibration none, or more facts in valid.txt"
            )
        scale = float(candidates.score.std()) or 1.0
        numbers, one_hot = _features(candidates, scale, num_relations)
        # A feature of the score that would count against a higher one is left out.
        used = list(range(numbers.shape[1]))
        while True:
            features = sparse.hstack([sparse.csr_array(numbers[:, used]), one_hot]).tocsr()
            # Newton's method takes a dozen steps where others stop short of the optimum.
            model = LogisticRegression(C=_PENALTY_C, solver="newton-cholesky").fit(features, true)
            wrong = [at for at, weight in zip(used, model.coef_[0], strict=False) if at < _OF_SCORE and weight < 0]
            if not wrong:
                break
            used.remove(wrong[0])
        weights = np.zeros(numbers.shape[1])
        weights[used] = model.coef_[0, : len(used)]
        fitted = cls(
            method=method,
            temperature=temperature,
            score_scale=scale,
            weights=weights.tolist(),
            intercept=float(model.intercept_[0]),
            by_relation=model.coef_[0, len(used) :].reshape(3, 2 * num_relations).tolist(),
            knots=([], []),
        )
        if method == "logistic":
            return fitted
        # The rule of succession bounds what so many facts can tell apart from never and always.
        least, most = 1 / (len(true) + 2), 1 - 1 / (positives + 2)
        isotonic = IsotonicRegression(y_min=least, y_max=most, out_of_bounds="clip")
        isotonic.fit(fitted.log_odds(candidates), true)
        knots = isotonic.X_thresholds_.tolist(), isotonic.y_thresholds_.tolist()
        return cls(**{**asdict(fitted), "knots": knots})

    def log_odds(self, candidates: Candidates) -> NDArray[np.float64]:
        """(N,) of the logistic regression: the order of facts across questions, without ties."""
        numbers, one_hot = _features(candidates, self.score_scale, len(self.by_relation[0]) // 2)
        found: NDArray[np.float64] = numbers @ np.asarray(self.weights) + self.intercept
        return found + one_hot @ np.concatenate(self.by_relation)

    def probability(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (N,) of log-odds (N,); never falling."""
        if not self.knots[0]:
            return 1 / (1 + np.exp(-log_odds))
        return np.interp(log_odds, *self.knots)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Calibrator":
        """Undo `as_json`; raises TypeError or KeyError for anything else."""
        first, second = values["knots"]
        return cls(**{**values, "knots": (list(first), list(second))})


def _features(candidates: Candidates, scale: float, num_relations: int) -> tuple[NDArray[np.float64], sparse.csr_array]:
    """What the regression sees of N candidates: numbers (N, 6), and (N, 6 R) which relation and direction.

    The second holds three times the same: always, where there is no known answer, where the other question has none.
    """
    none, other_none = candidates.known == 0, candidates.other_known == 0
    counts = np.log1p(candidates.known), np.log1p(candidates.other_known)
    numbers = np.stack([candidates.score / scale, candidates.share, *counts, none, other_none], axis=1)
    place = 2 * candidates.relation + candidates.direction
    width = 2 * num_relations
    column = np.stack([place, place + width, place + 2 * width], axis=1).ravel()
    row = np.repeat(np.arange(len(place)), 3)
    there = np.stack([np.ones_like(none), none, other_none], axis=1).ravel()
    shape = len(place), 3 * width
    return numbers, sparse.csr_array((np.ones(int(there.sum())), (row[there], column[there])), shape=shape)


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
        low, high = wilson(hits, count)
        found.append(
            {"mean": float(p[inside].mean()), "observed": hits / count, "low": low, "high": high, "count": count}
        )
    return found


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share (1927), 95 % by default."""
    share, z2 = hits / count, z * z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = z / (1 + z2 / count) * float(np.sqrt(share * (1 - share) / count + z2 / (4 * count * count)))
    return max(0.0, middle - half), min(1.0, middle + half)


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
