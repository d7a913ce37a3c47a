"""The tiny grid, run once."""

import pytest

from mmrns.cli import main
from mmrns.experiments import cells
from tests.experiments.tiny_grid import reproduce, write_grid


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs of a grid are made in this process: a new one would import everything again."""
    monkeypatch.setattr(cells, "launch_mmrns", main)


@pytest.fixture(scope="session")
def tiny_runs(tiny_graph, tmp_path_factory):
    """(grid file, runs folder) of the tiny grid, run to its end. Nobody writes into them."""
    folder = tmp_path_factory.mktemp("grid")
    grid, runs = write_grid(folder, tiny_graph), folder / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "launch_mmrns", main)
        assert reproduce(grid, runs) == 0
    return grid, runs
