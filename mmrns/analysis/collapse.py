"""Whether vectors use their space: spectrum, effective rank, cosines, dead dimensions, hubs."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy, skew
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

Vectors = NDArray[np.float64]

NEIGHBOURS = 10
# A dimension is dead when it varies less than this share of the mean dimension's standard deviation.
_DEAD = 0.01


def spectrum(vectors: Vectors) -> Vectors:
    """Singular values of (N, d), not centred, over their sum, descending: (min(N, d),); zeros for zero vectors."""
    values = np.linalg.svd(vectors, compute_uv=False)
    total = float(values.sum())
    return np.asarray(values / total if total > 0 else values, dtype=np.float64)


def effective_rank(shares: Vectors) -> float:
    """exp of the Shannon entropy of a spectrum (Roy and Vetterli, EUSIPCO 2007): 1 to min(N, d)."""
    return float(np.exp(entropy(shares))) if shares.sum() > 0 else 0.0


def top_share(shares: Vectors) -> float:
    """Share of the squared length of all vectors that lies along one direction, the first singular vector's."""
    return float(shares[0] ** 2 / np.square(shares).sum()) if shares.sum() > 0 else 1.0


def mean_cosine(vectors: Vectors) -> float:
    """Mean cosine of all pairs of distinct rows, by the length of the sum of the unit vectors. Zero rows count as 0."""
    unit = normalize(vectors)
    squares = float(np.square(unit).sum())  # N, less the zero rows
    return (float(np.square(unit.sum(0)).sum()) - squares) / (len(unit) * (len(unit) - 1))


def dead_dimensions(vectors: Vectors) -> float:
    """Share of the dimensions whose standard deviation is below a hundredth of the mean one; 1 for equal vectors."""
    deviation = vectors.std(0)
    return float((deviation <= _DEAD * deviation.mean()).mean())


def hubness(vectors: Vectors, neighbours: int = NEIGHBOURS) -> float:
    """Skewness of N_k, how often a vector is among others' k nearest by cosine (Radovanović et al., JMLR 2010)."""
    neighbours = min(neighbours, len(vectors) - 1)
    unit = normalize(vectors)
    nearest = NearestNeighbors(n_neighbors=neighbours).fit(unit).kneighbors(return_distance=False)
    occurrence = np.bincount(nearest.ravel(), minlength=len(unit))
    return float(skew(occurrence)) if occurrence.std() > 0 else 0.0
