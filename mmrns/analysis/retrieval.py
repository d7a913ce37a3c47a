"""Finding an entity in one space from its vector in another."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import ndcg_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

Vectors = NDArray[np.float64]

FOLDS = 5
_PENALTY = 100.0
DEPTH = 10


def retrieval(source: Vectors, target: Vectors, relevance: NDArray[np.float64], seed: int) -> dict[str, float]:
    """Rank every target (N, d) for each source (N, w) by cosine with a linear prediction of its own target.

    The map is a ridge regression on standardised vectors; an entity's prediction comes from the four fifths of the
    entities that it is not among, so a map that only remembers is no better than chance.

    Args:
        relevance: (N, N) graded relevance of target j for source i, at least 0, the largest on the diagonal.

    Returns:
        retrieval_mrr: mean reciprocal rank of the own target, ties at their mean rank.
        retrieval_ndcg: normalised discounted cumulative gain of the first ten (Järvelin and Kekäläinen 2002).
    """
    regression = make_pipeline(StandardScaler(), Ridge(_PENALTY))
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    wanted = normalize(target)
    predicted = cross_val_predict(regression, normalize(source), wanted, cv=folds)
    # The mean target is no evidence for any of them.
    centre = wanted.mean(0)
    cosines = normalize(predicted - centre) @ normalize(wanted - centre).T
    own = np.diagonal(cosines)[:, None]
    above, equal = (cosines > own).sum(1), (cosines == own).sum(1)
    return {
        "retrieval_mrr": float((1 / (above + (equal + 1) / 2)).mean()),
        "retrieval_ndcg": float(ndcg_score(relevance, cosines, k=DEPTH)),
    }
