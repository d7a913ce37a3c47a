"""What tests of commands share."""

import shutil

import pytest


@pytest.fixture
def place(tiny_graph, finished_run, tmp_path, monkeypatch):
    """A folder to spoil: data/tiny, and the run that was trained on it."""
    shutil.copytree(tiny_graph, tmp_path / "tiny")
    shutil.copytree(finished_run, tmp_path / "run")
    config = (tmp_path / "run/config.yaml").read_text().replace(str(tiny_graph), str(tmp_path / "tiny"))
    (tmp_path / "run/config.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)
    return tmp_path
