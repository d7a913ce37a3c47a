"""The tiny graph that tests of training, of commands and of trained runs share. Nobody writes into it."""

import hypothesis
import pytest
import torch

from mmrns.cli import main
from tests.browser import browser, visit  # noqa: F401  fixtures
from tests.tiny import train_command, write_tiny_features, write_tiny_graph

# A busy machine is slow; no test fails for its time.
hypothesis.settings.register_profile("mmrns", deadline=None)
hypothesis.settings.load_profile("mmrns")


@pytest.fixture(autouse=True)
def _denormal_numbers():
    """Training makes them zero in its whole process; tests of other things may need them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def tiny_graph(tmp_path_factory):
    """Folder of the tiny graph with features."""
    folder = write_tiny_graph(tmp_path_factory.mktemp("data") / "tiny")
    write_tiny_features(folder)
    return folder


@pytest.fixture(scope="session")
def finished_run(tiny_graph, tmp_path_factory):
    """Folder of a short MMRNS run that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert main(train_command(tiny_graph, folder, "mmrns")) == 0
    return folder
