"""Vectors in the plane: PCA, t-SNE, and UMAP where umap-learn is installed."""

import importlib.util
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

Vectors = NDArray[np.float64]

_PERPLEXITY = 30
_FIRST_TO = 50
# Half of scikit-learn's: maps of a thousand points have settled by then.
_ITERATIONS = 500
LEAST_POINTS = 5


def maps(vectors: Vectors, seed: int) -> dict[str, list[tuple[float, float]]]:
    """Points (x, y) of unit vectors (N, d) by method; {} where there are too few or all are the same."""
    unit = normalize(vectors)
    if len(unit) < LEAST_POINTS or unit.shape[1] < 2 or not unit.std(0).any():
        return {}
    reduced = components(unit, seed)
    found = {"pca": reduced[:, :2], "tsne": tsne(reduced, seed)}
    if importlib.util.find_spec("umap") is not None:
        from umap import UMAP

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its own choice of threads
            found["umap"] = UMAP(random_state=seed).fit_transform(reduced)
    return {name: [(round(float(x), 4), round(float(y), 4)) for x, y in points] for name, points in found.items()}


def components(vectors: Vectors, seed: int) -> Vectors:
    """The leading principal components of (N, d), at most 50: (N, min(50, N, d))."""
    found: Vectors = PCA(min(_FIRST_TO, *vectors.shape), random_state=seed).fit_transform(vectors)
    return found


def tsne(reduced: Vectors, seed: int) -> Vectors:
    """t-SNE of at least LEAST_POINTS points, given by their leading components: (N, 2)."""
    perplexity = min(_PERPLEXITY, (len(reduced) - 1) / 3)
    method = TSNE(2, perplexity=perplexity, init="pca", max_iter=_ITERATIONS, random_state=seed, n_jobs=1)
    found: Vectors = method.fit_transform(reduced).astype(np.float64)
    return found
