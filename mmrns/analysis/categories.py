"""Whether entities of one type lie together: k-means, silhouette, and a linear probe of the type."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

Vectors = NDArray[np.float64]

FOLDS = 5


def clusters(vectors: Vectors, types: list[str], seed: int) -> dict[str, float]:
    """How k-means over unit vectors, k the number of types, agrees with the types; and the types' own silhouette.

    Returns:
        cluster_purity: share of entities whose type is the most frequent one of their cluster.
        cluster_rand: adjusted Rand index (Hubert and Arabie 1985); 0 is chance, 1 the same partition.
        type_silhouette: mean silhouette of the types by cosine distance (Rousseeuw 1987), -1 to 1.
    """
    unit, kinds = normalize(vectors), len(set(types))
    with warnings.catch_warnings():
        # Vectors that coincide have fewer clusters than there are types: that is what the figures then say.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_clusters=kinds, n_init=3, random_state=seed).fit_predict(unit)
    return {
        "cluster_purity": float(contingency_matrix(types, found).max(0).sum() / len(types)),
        "cluster_rand": float(adjusted_rand_score(types, found)),
        "type_silhouette": float(silhouette_score(unit, types, metric="cosine")),
    }


def probe(vectors: Vectors, types: list[str], seed: int) -> dict[str, float]:
    """Accuracy of a logistic regression that reads the type off standardised vectors, over five folds.

    Returns:
        probe_accuracy, and probe_balanced_accuracy, the mean over types of the share found.
    """
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=0.01))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = cross_validate(reader, vectors, types, cv=folds, scoring=("accuracy", "balanced_accuracy"))
    return {
        "probe_accuracy": float(scores["test_accuracy"].mean()),
        "probe_balanced_accuracy": float(scores["test_balanced_accuracy"].mean()),
    }
