"""Notebooks run from top to bottom, and what is committed is such a run."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def executed(path):
    """By scripts/run_notebook.py, which is not in a package."""
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "scripts" / "run_notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed(path)


def outputs(notebook):
    """Of each code cell, the kinds of its outputs: names of streams, and media types."""
    return [
        [output.get("name") or sorted(output["data"]) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@every_notebook
def test_what_is_committed_is_a_small_run_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [kind for found in outputs(notebook) for kind in found]
    assert "stderr" not in kinds
    assert sum("image/png" in kind for kind in kinds) >= 3
    text = path.read_text(encoding="utf-8")
    assert len(text) < 500_000
    for place in (str(Path.home()), str(ROOT), "/tmp/", "site-packages"):
        assert place not in text


@every_notebook
def test_it_runs_and_has_outputs_of_the_same_kinds(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert outputs(executed(path)) == outputs(nbformat.read(path, as_version=4))
