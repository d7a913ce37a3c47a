"""Maps: principal components by a plain decomposition, t-SNE kept in the run folder, and made anew when it must be."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrns.explorer import maps
from mmrns.explorer.maps import MAP_FILE, embedding_map
from mmrns.explorer.opened import OpenRun
from mmrns.explorer.session import Explorer
from tests.tiny import ENTITIES


@pytest.fixture(scope="module")
def mapped(trained_runs, tmp_path_factory):
    """A run whose map is kept."""
    run = shutil.copytree(trained_runs[0], tmp_path_factory.mktemp("mapped") / "run")
    return run, embedding_map(OpenRun(run), "tsne")


@pytest.fixture
def opened(trained_runs, tmp_path):
    return OpenRun(shutil.copytree(trained_runs[0], tmp_path / "run"))


def test_principal_components_are_those_of_the_centred_unit_vectors(opened):
    found = embedding_map(opened, "pca")
    assert found.rows == list(range(ENTITIES)) and found.left_out == 0
    table = opened.explainer.trained.model.entities.everything().detach().double().numpy()
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    centred = table - table.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    for axis, direction in zip((found.x, found.y), directions, strict=False):
        assert (min(axis), max(axis)) == (0, 1)
        assert abs(np.corrcoef(axis, centred @ direction)[0, 1]) == pytest.approx(1, abs=1e-4)


def test_tsne_is_kept_and_read_back(opened, monkeypatch):
    first = embedding_map(opened, "tsne")
    path = opened.explainer.trained.run.path / MAP_FILE
    assert path.is_file() and len(first.rows) == ENTITIES
    monkeypatch.setattr(maps, "_tsne", lambda table: pytest.fail("made again"))
    assert embedding_map(opened, "tsne") == first


def test_tsne_keeps_neighbours_near(opened):
    with torch.no_grad():  # two clusters far apart
        table = opened.explainer.trained.model.entities.table
        table.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        table[: ENTITIES // 2] += 1
        table[ENTITIES // 2 :, 0] -= 1
    found = embedding_map(opened, "tsne")
    points = np.stack([found.x, found.y], 1)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(ENTITIES)
    same = (np.arange(ENTITIES) < ENTITIES // 2)[distance.argmin(1)] == (np.arange(ENTITIES) < ENTITIES // 2)
    assert same.mean() > 0.95


@pytest.mark.parametrize(
    "content",
    ["{", "{}", '{"format": "mmrns-explorer-map-1", "made_from": {}, "tsne": []}', "damaged", "others", "short"],
)
def test_a_file_that_is_damaged_or_of_other_weights_is_made_anew(mapped, tmp_path, monkeypatch, content):
    source, first = mapped
    opened = OpenRun(shutil.copytree(source, tmp_path / "copy"))
    path = opened.explainer.trained.run.path / MAP_FILE
    again = np.asarray(json.loads(path.read_text())["tsne"])
    monkeypatch.setattr(maps, "_tsne", lambda table: again)
    kept = json.loads(path.read_text())
    if content == "damaged":
        content = json.dumps(kept | {"tsne": [[1, "x"]] * ENTITIES})
    elif content == "others":
        content = json.dumps(kept | {"made_from": kept["made_from"] | {"weights_sha256": "0"}})
    elif content == "short":
        content = json.dumps(kept | {"tsne": kept["tsne"][:-1]})
    path.write_text(content)
    assert replace(embedding_map(opened, "tsne"), run=first.run) == first
    assert json.loads(path.read_text()) == kept


def test_a_run_that_cannot_be_written_is_mapped_all_the_same(opened):
    path = opened.explainer.trained.run.path / MAP_FILE
    (path / "in the way").mkdir(parents=True)
    assert len(embedding_map(opened, "tsne").rows) == ENTITIES


def test_of_too_many_entities_those_with_most_facts_are_shown(opened, monkeypatch):
    monkeypatch.setattr(maps, "_MOST_POINTS", 10)
    found = embedding_map(opened, "pca")
    degree = np.bincount(opened.dataset.train[:, [0, 2]].ravel(), minlength=ENTITIES)
    assert len(found.rows) == 10 and found.left_out == ENTITIES - 10
    assert degree[found.rows].min() >= np.delete(degree, found.rows).max()


@pytest.mark.parametrize("number", [1, 2, 4, 5, 8])
def test_few_points_are_no_error(number):
    points = maps._tsne(np.random.default_rng(0).standard_normal((number, 6)))
    assert points.shape == (number, 2) and np.isfinite(points).all()


def test_until_tsne_is_ready_the_principal_components_are_shown(runs):
    explorer = Explorer(runs[0])
    assert not explorer.ready
    found, ready = explorer.map("tsne")
    assert (found.method, ready) == ("pca", False)
    assert explorer.map("pca") == (found, True)
    explorer.prepare().join()
    assert explorer.ready
    found, ready = explorer.map("tsne")
    assert (found.method, ready) == ("tsne", True)
