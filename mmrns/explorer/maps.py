"""Entity vectors in the plane: principal components at once, t-SNE when it is ready, kept in the run folder."""

import contextlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from mmrns.analysis.maps import LEAST_POINTS, Vectors, components, tsne
from mmrns.errors import UserError
from mmrns.explorer.opened import OpenRun
from mmrns.explorer.results import EmbeddingMap
from mmrns.features.digests import file_sha256
from mmrns.files import read_kept, write_text

Method = Literal["pca", "tsne"]
MAP_FILE = "explorer-map.json"

_FORMAT = "mmrns-explorer-map-1"
# t-SNE of so many takes minutes; the page draws them without stuttering.
_MOST_POINTS = 10_000
_SEED = 0


def embedding_map(opened: OpenRun, method: Method) -> EmbeddingMap:
    """The map of a run's entity vectors, made as `mmrns analyze` makes its own, of more points.

    t-SNE's is read from RUN/explorer-map.json, or made and kept there. A graph of more entities than can be drawn shows
    those with the most facts in train.
    """
    rows = _rows(opened)
    table = opened.explainer.trained.model.entities.everything().detach().double().numpy()[rows]
    unit: Vectors = normalize(table)
    points = _axes(unit) if method == "pca" else _kept_or_made(opened, unit)
    low, high = points.min(0), points.max(0)
    scaled = (points - low) / np.where(high > low, high - low, 1)
    x, y = (np.round(column, 4).tolist() for column in scaled.T)
    return EmbeddingMap(opened.name, method, rows.tolist(), x, y, len(opened.dataset.entities) - len(rows))


def _rows(opened: OpenRun) -> NDArray[np.int64]:
    number = len(opened.dataset.entities)
    degree = np.bincount(opened.dataset.train[:, [0, 2]].ravel(), minlength=number)
    return np.sort(np.argsort(-degree, kind="stable")[:_MOST_POINTS])


def _axes(unit: Vectors) -> Vectors:
    """The first two components; one entity, or one dimension, has one."""
    if len(unit) < 2:
        return np.zeros((len(unit), 2))
    first = components(unit, _SEED)[:, :2]
    return np.pad(first, ((0, 0), (0, 2 - first.shape[1])))


def _kept_or_made(opened: OpenRun, unit: Vectors) -> Vectors:
    run = opened.explainer.trained.run
    made_from = {"weights_sha256": file_sha256(run.model_file), "points": len(unit)}
    path = run.path / MAP_FILE
    kept = _kept(path, made_from)
    if kept is not None:
        return kept
    points = np.round(_tsne(unit), 4)
    values = {"format": _FORMAT, "made_from": made_from, "tsne": points.tolist()}
    with contextlib.suppress(UserError):  # a run that may only be read is shown all the same
        write_text(path, json.dumps(values))
    return points


def _kept(path: Path, made_from: dict[str, Any]) -> Vectors | None:
    kept = read_kept(path, _FORMAT, made_from)
    if kept is None:
        return None
    try:
        points = np.asarray(kept["tsne"], dtype=np.float64)
        return points if points.shape == (made_from["points"], 2) and np.isfinite(points).all() else None
    except (KeyError, TypeError, ValueError):
        return None


def _tsne(unit: Vectors) -> Vectors:
    flat = len(unit) < LEAST_POINTS or not unit.std(0).any()
    return _axes(unit) if flat else tsne(components(unit, _SEED), _SEED)
