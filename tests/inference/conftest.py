"""Runs that `predict --all` is tried on."""

import shutil

import numpy as np
import pytest

from tests.inference.runs import untrained_run, write_graph


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("state.pt", "tensorboard"))


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    """A graph whose splits overlap as DB15K's do, with repeated rows, types and a relation that train lacks."""
    rng = np.random.default_rng(0)
    every = sorted({(f"e{h:02}", f"r{r}", f"e{t:02}") for h, r, t in rng.integers(0, (30, 3, 30), (260, 3)).tolist()})
    every = [every[i] for i in rng.permutation(len(every))]
    train, valid, test = every[:140], every[140:200], every[200:]
    splits = {
        "train": [*train, train[0]],
        "valid": [*train[:90], *test[:15], *valid, valid[0], ("e00", "valid only", "e01")],
        "test": [*test, *train[90:110], test[0]],
    }
    records = [{"id": f"e{n:02}", "type": ["bird", "tree", ""][n % 3]} for n in range(30)]
    folder = tmp_path_factory.mktemp("overlapping")
    write_graph(folder / "graph", splits, records)
    untrained_run(folder / "run", folder / "graph", validation="published")
    return folder


@pytest.fixture
def overlapping_run(overlapping, tmp_path):
    return shutil.copytree(overlapping / "run", tmp_path / "run")
