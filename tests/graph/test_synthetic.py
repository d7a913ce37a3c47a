"""Synthetic graphs: sizes, categories and degrees as asked for, the same again from a seed, and the planted signal."""

import json

import numpy as np
import pytest
import torch

from mmrns.cli import main
from mmrns.features import FeatureStore
from mmrns.graph import load_dataset
from mmrns.graph.statistics import relation_categories
from mmrns.graph.synthetic import SyntheticGraph

SMALL = ["--entities", "300", "--triples", "2000", "--relations", "8", "--held-out", "50"]
SMALL += ["--image-tokens", "3", "--image-dim", "16", "--text-tokens", "2", "--text-dim", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic") / "graph"
    assert main(["generate", str(path), *SMALL, "--seed", "3"]) == 0
    return path


def test_sizes_are_those_asked_for_and_every_name_is_in_train(folder):
    dataset = load_dataset(folder)
    triples = np.concatenate([dataset.train, dataset.valid, dataset.test])
    assert len(np.unique(triples, axis=0)) == len(triples) == 2000
    assert (len(dataset.valid), len(dataset.test)) == (50, 50)
    assert set(dataset.train[:, [0, 2]].ravel()) == set(range(300))
    assert set(dataset.train[:, 1]) == set(range(8))


@pytest.mark.parametrize(("entities", "triples", "relations"), [(1000, 6000, 8), (8000, 52_000, 50)])
def test_relations_have_the_category_they_were_drawn_for(entities, triples, relations):
    graph = SyntheticGraph(entities, triples, relations)
    drawn = graph.triples_of(graph.draw()[0])
    expected = graph.category(np.arange(relations))
    assert set(expected) == {0, 1, 2, 3}
    assert (relation_categories(drawn, relations) == expected).mean() > 0.95


def test_degrees_fall_by_a_power_law():
    graph = SyntheticGraph(5_000, 50_000, 20)
    degree = np.bincount(graph.triples_of(graph.draw()[0])[:, [0, 2]].ravel())
    # Hill's estimator of the exponent of P(degree > d) over the upper tail.
    tail = np.sort(degree)[::-1][:100].astype(float)
    exponent = 1 / np.log(tail[:-1] / tail[-1]).mean()
    assert 0.8 < exponent < 6
    assert degree.max() > 10 * np.median(degree)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    for name, seed in (("same", "3"), ("other", "4")):
        assert main(["generate", str(tmp_path / name), *SMALL, "--seed", seed]) == 0
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["features.json", "features.safetensors", "test.txt", "train.txt", "valid.txt"]
    assert all((tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes() for name in files)
    assert not any((tmp_path / "other" / name).read_bytes() == (folder / name).read_bytes() for name in files)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_answers_of_a_query_look_and_read_alike(folder, modality):
    dataset = load_dataset(folder)
    store = FeatureStore.open(dataset)
    vectors = torch.nn.functional.normalize(store.mean_tokens(modality), dim=1)
    has = store.presence(modality)
    answers = dataset.answers()
    rows = (answers.counts > 1).nonzero()[:, 0]
    pairs = answers.answers_at(answers.offsets[rows] + torch.arange(2)[:, None])
    pairs = pairs[:, has[pairs].all(0)]
    others = torch.stack([pairs[0], pairs[1].roll(7)])
    alike, apart = ((vectors[p[0]] * vectors[p[1]]).sum(1).mean() for p in (pairs, others))
    assert alike > apart + 0.2


def test_features_that_are_streamed_are_sound_and_verify(folder):
    store = FeatureStore.open(load_dataset(folder))
    store.verify()
    values, mask = store.arrays("image")
    assert values.dtype == np.float16 and values.shape == (300, 3, 16)
    assert not values[~mask].any() and mask.any(1).mean() == pytest.approx(0.9, abs=0.06)
    assert np.asarray(values)[mask].astype(np.float64).var() == pytest.approx(1, abs=0.2)
    without = set(json.loads((folder / "features.json").read_text())["missing"]["image"])
    assert without == {load_dataset(folder).entities.ids[row] for row in np.flatnonzero(~mask.any(1))}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--entities", "3"], "--entities 3"),
        (["--triples", "300"], "--triples 300"),
        (["--triples", "200000"], "--triples 200000"),
        (["--relations", "1"], "--relations 1"),
        (["--image-dim", "0"], "--image-dim 0"),
        (["--seed", "-1"], "--seed -1"),
    ],
)
def test_sizes_that_no_graph_has_are_refused_in_one_line_and_leave_nothing(tmp_path, capsys, given, said):
    assert main(["generate", str(tmp_path / "graph"), *SMALL, *given]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(folder, capsys):
    before = (folder / "train.txt").read_bytes()
    assert main(["generate", str(folder), *SMALL]) == 2
    assert "already holds something" in capsys.readouterr().err
    assert (folder / "train.txt").read_bytes() == before
