"""Entity vectors in the plane: principal components at once, t-SNE when it is ready, kept in the run folder."""

import contextlib
import json
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from mmrns.errors import UserError
from mmrns.explorer.opened import OpenRun
from mmrns.explorer.results import EmbeddingMap
from mmrns.features.digests import file_sha256
from mmrns.files import read_json, write_text

Method = Literal["pca", "tsne"]
METHODS: tuple[Method, ...] = ("pca", "tsne")
MAP_FILE = "explorer-map.json"

_FORMAT = "mmrns-explorer-map-1"
# t-SNE of so many takes minutes; the page draws them without stuttering.
_MOST_POINTS = 10_000
# t-SNE finds neighbours among the leading components: more of them add noise and time (van der Maaten, 2014, used 50).
_COMPONENTS = 50


def embedding_map(opened: OpenRun, method: Method) -> EmbeddingMap:
    """The map of a run's entity vectors; t-SNE's is read from RUN/explorer-map.json, or made and kept there.

    A graph of more entities than can be drawn shows those with the most facts in train.
    """
    rows = _rows(opened)
    table = opened.explainer.trained.model.entities.everything().detach().float().numpy()[rows]
    points = _pca(table) if method == "pca" else _kept_or_made(opened, table)
    low, high = points.min(0), points.max(0)
    scaled = (points - low) / np.where(high > low, high - low, 1)
    x, y = (np.round(column, 4).tolist() for column in scaled.T)
    return EmbeddingMap(opened.name, method, rows.tolist(), x, y, len(opened.dataset.entities) - len(rows))


def _rows(opened: OpenRun) -> NDArray[np.int64]:
    number = len(opened.dataset.entities)
    degree = np.bincount(opened.dataset.train[:, [0, 2]].ravel(), minlength=number)
    return np.sort(np.argsort(-degree, kind="stable")[:_MOST_POINTS])


def _pca(table: NDArray[np.float32]) -> NDArray[np.float64]:
    axes = min(2, *table.shape)
    found: NDArray[np.float64] = PCA(axes, random_state=0).fit_transform(table).astype(np.float64)
    return np.pad(found, ((0, 0), (0, 2 - axes)))  # one entity, or one dimension, has one axis


def _kept_or_made(opened: OpenRun, table: NDArray[np.float32]) -> NDArray[np.float64]:
    run = opened.explainer.trained.run
    made_from = {"weights_sha256": file_sha256(run.model_file), "points": len(table)}
    path = run.path / MAP_FILE
    kept = _kept(path, made_from)
    if kept is not None:
        return kept
    points = np.round(_tsne(table), 4)
    values = {"format": _FORMAT, "made_from": made_from, "tsne": points.tolist()}
    with contextlib.suppress(UserError):  # a run that may only be read is shown all the same
        write_text(path, json.dumps(values))
    return points


def _kept(path: Any, made_from: dict[str, Any]) -> NDArray[np.float64] | None:
    """What the file holds, if it was made from the same; a damaged or older file is made anew."""
    if not path.is_file():
        return None
    try:
        values = read_json(path, "delete it")
        if values["format"] != _FORMAT or values["made_from"] != made_from:
            return None
        points = np.asarray(values["tsne"], dtype=np.float64)
        return points if points.shape == (made_from["points"], 2) and np.isfinite(points).all() else None
    except (UserError, KeyError, TypeError, ValueError):
        return None


def _tsne(table: NDArray[np.float32]) -> NDArray[np.float64]:
    number, width = table.shape
    if number < 5:
        return _pca(table)
    reduced = PCA(min(_COMPONENTS, number, width), random_state=0).fit_transform(table)
    perplexity = min(30.0, (number - 1) / 3)
    found: NDArray[np.float64] = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    return found.astype(np.float64)
