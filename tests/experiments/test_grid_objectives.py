"""`mmrns reproduce` on rows that sample no negatives, sample them beside, or fuse features into the entities."""

import csv
import shutil

import pytest

from mmrns.errors import UserError
from mmrns.experiments.cells import require_features
from mmrns.experiments.grid import load_grid
from tests.experiments.tiny_grid import reproduce, write_grid

GRID = """
title: Objectives
groups:
  tiny: {config: tiny/base.yaml, needs: [text], extract: mmrns extract tiny}
rows:
  sampled: {set: {sampler: mmrns, steps: 4}}
  1vsall: {set: {objective: 1vsall, sampler: mmrns, steps: 4}, against: sampled}
  beside: {set: {objective: 1vsall, sampler: mmrns, sampled_weight: 0.5, modalities: 'text,structure', steps: 4}}
  fused: {set: {objective: kvsall, encoder: fused, steps: 4}}
"""


def test_the_table_says_what_each_row_sampled_and_saw(tiny_graph, tmp_path, in_this_process, capsys):
    grid = write_grid(tmp_path, tiny_graph, GRID)
    assert reproduce(grid, tmp_path / "runs", "--set", "log_every=1") == 0
    assert reproduce(grid, tmp_path / "runs", "--table", "--results", tmp_path) == 0
    with (tmp_path / "tiny.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert {name: row["sampler"] for name, row in rows.items()} == {
        "sampled": "mmrns", "1vsall": "none", "beside": "mmrns", "fused": "none",
    }  # fmt: skip
    assert {name: row["sees"] for name, row in rows.items()} == {
        "sampled": "structure + image + text", "1vsall": "structure", "beside": "structure + text",
        "fused": "structure + image + text",
    }  # fmt: skip
    # A sampler's entropy is that of a distribution, over log P; no sampler has none.
    assert all(0 < float(rows[name]["entropy"]) <= 1 for name in ("sampled", "beside"))
    assert rows["1vsall"]["entropy"] == rows["fused"]["entropy"] == ""
    assert rows["1vsall"]["objective"] == "1vsall" and rows["1vsall"]["difference"] != ""


@pytest.mark.parametrize(("row", "needs"), [("sampled", True), ("1vsall", False), ("beside", True), ("fused", True)])
def test_features_are_needed_where_they_are_used(tiny_graph, tmp_path, row, needs):
    graph = tmp_path / "graph"
    shutil.copytree(tiny_graph, graph)
    (graph / "features.json").unlink()
    grid = load_grid(write_grid(tmp_path, graph, GRID))
    cell = next(cell for cell in grid.cells if cell.row == row)
    if needs:
        with pytest.raises(UserError, match=f"has no text features, which tiny/{row} needs; make them with: "):
            require_features(grid, cell)
    else:
        require_features(grid, cell)
