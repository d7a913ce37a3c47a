"""A grid over the tiny graph, and `mmrns reproduce` on it within one process or killed in another."""

import os
import signal
import sys
from pathlib import Path

import yaml

from mmrns.cli import main
from mmrns.experiments import cells
from mmrns.training.batches import Batches
from tests.tiny import SHORT_RUN
from tests.training import stopped

GRID = """
title: A tiny table
about: Three rows on the tiny graph.
seeds: 1
groups:
  tiny: {title: The tiny graph, seeds: {uniform: 2, mmrns: 2}}
rows:
  uniform: {config: tiny/base.yaml, label: uniform}
  mmrns: {config: tiny/base.yaml, set: {sampler: mmrns}, against: uniform}
  short: {config: tiny/base.yaml, set: {steps: 20}, against: uniform}
"""


def write_grid(folder, tiny_graph, text=GRID):
    """configs/grids/tiny.yaml and configs/tiny/base.yaml in `folder`; returns the grid's path."""
    options = {name.replace("-", "_"): value for name, value in SHORT_RUN.items()}
    base = options | {"sampler": "uniform", "dataset": str(tiny_graph)}
    for name, content in (("grids/tiny.yaml", text), ("tiny/base.yaml", yaml.safe_dump(base))):
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder / "configs/grids/tiny.yaml"


def reproduce(grid, runs, *rest):
    """Exit status of `mmrns reproduce`, with its runs in this process (see `in_this_process`)."""
    return main(["reproduce", str(grid), "--runs", str(runs), *map(str, rest)])


def reproduce_until_killed(grid, runs, at_batch):
    """`mmrns reproduce` in a process that is killed when it asks for its `at_batch`-th batch."""
    child = stopped._CONTEXT.Process(target=_killed, args=(str(grid), str(runs), at_batch))
    child.start()
    child.join(120)
    return child.exitcode


def _killed(grid, runs, at_batch):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    asked, original = [], Batches.rows

    def rows(self, *arguments):
        asked.append(arguments)
        if len(asked) == at_batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)

    Batches.rows = rows
    cells.launch_mmrns = main
    sys.exit(reproduce(Path(grid), Path(runs)))
