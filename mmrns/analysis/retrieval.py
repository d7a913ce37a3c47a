"""Finding an entity in one space from its vector in another."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import ndcg_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

Vectors = NDArray[np.float64]

FOLDS = 5
_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
DEPTH = 10


def retrieval(source: Vectors, target: Vectors, relevance: NDArray[np.float64], seed: int) -> dict[str, float]:
    """Rank every target (N, d) for each source (N, w) by cosine with a linear prediction of its own target.

    The map is a ridge regression on standardised vectors, its penalty chosen by leaving one out. An entity's prediction
    comes from the four fifths of the entities that it is not among, so a map that only remembers is no better than
    chance.

    Args:
        relevance: (N, N) graded relevance of target j for source i, at least 0, the largest on the diagonal.

    Returns:
        retrieval_mrr: mean reciprocal rank of the own target, ties at their mean rank.
        retrieval_ndcg: normalised discounted cumulative gain of the first ten (Järvelin and Kekäläinen 2002).
    """
    source, target = normalize(source), normalize(target)
    predicted = np.zeros_like(target)
    for known, asked in KFold(FOLDS, shuffle=True, random_state=seed).split(source):
        regression = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
        mean = target[known].mean(0)
        # Without the mean of the targets it was fitted on: that is no evidence for any of them, and lies a little away
        # from those that it was not fitted on.
        predicted[asked] = regression.fit(source[known], target[known] - mean).predict(source[asked])
    cosines = normalize(predicted) @ normalize(target - target.mean(0)).T
    own = np.diagonal(cosines)[:, None]
    above, equal = (cosines > own).sum(1), (cosines == own).sum(1)
    return {
        "retrieval_mrr": float((1 / (above + (equal + 1) / 2)).mean()),
        "retrieval_ndcg": float(ndcg_score(relevance, cosines, k=DEPTH)),
    }
