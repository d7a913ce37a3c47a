"""`mmrns reproduce NAME`: run or resume a grid of runs, and make its tables from what they left."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmrns.config_io import load_config
from mmrns.errors import UserError

if TYPE_CHECKING:
    from mmrns.experiments.grid import Cell, Grid

HELP = "run or resume a grid of runs (main, ablation, few-negatives or a YAML file of yours), or make its tables"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, what to run of it, and where."""
    parser.add_argument("name", metavar="NAME", help="a grid below configs/grids, or its file")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="GROUP/ROW", help="only cells that match, e.g. 'mkg-y/rotate*'"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N-1 of each cell, instead of the grid's")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where runs are kept (default: checkpoints/NAME)")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="where results are kept (default: results)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="options of mmrns train for every run, e.g. threads=1",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the runs, their state and their commands")
    parser.add_argument(
        "--table",
        action="store_true",
        help="run nothing; keep finished runs in RESULTS/NAME and write RESULTS/NAME.md and .csv from what is kept",
    )
    parser.add_argument(
        "--redo", action="store_true", help="remove and run anew what was run with other options than its cell has now"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the list of --dry-run or the rows of --table as JSON"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run what is missing, or list it, or make the tables."""
    from mmrns.experiments.cells import MACHINE_OPTIONS, launch_mmrns, run_cells
    from mmrns.experiments.grid import find_grid, load_grid
    from mmrns.experiments.settings import read_settings

    if arguments.seeds is not None and arguments.seeds < 1:
        raise UserError(f"--seeds {arguments.seeds}: must be at least 1")
    grid = load_grid(find_grid(arguments.name))
    given = read_settings(arguments.set, without=("seed", "output"))
    load_config(given)
    changes = {name: value for name, value in given.items() if name not in MACHINE_OPTIONS}
    if changes and arguments.table:
        raise UserError(f"--set {next(iter(changes))}: would change what the rows of --table mean; put it in the grid")
    cells = [cell.changed(changes) for cell in grid.select(arguments.only)]
    chosen = [(cell, seed) for cell in cells for seed in range(arguments.seeds or cell.seeds)]
    # Every cell gets a first seed before any gets a second.
    chosen.sort(key=lambda pair: pair[1])
    runs = arguments.runs or Path("checkpoints") / grid.name
    if arguments.table:
        _make_tables(grid, chosen, runs, arguments.results, arguments.json)
        return
    if arguments.dry_run:
        _list(chosen, runs, arguments.json)
        return
    machine = {name: value for name, value in given.items() if name not in changes}
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    failed = run_cells(grid, chosen, runs, machine, launch_mmrns, say, arguments.redo)
    if failed:
        raise UserError(f"{len(failed)} of {len(chosen)} runs failed; {'; '.join(failed)}")
    print(f"{len(chosen)} runs below {runs}; tables: mmrns reproduce {arguments.name} --table")


def _list(chosen: "list[tuple[Cell, int]]", runs: Path, as_json: bool) -> None:
    """The state and the command of every run."""
    from mmrns.experiments.cells import state_of

    rows = []
    for cell, seed in chosen:
        folder = cell.folder(runs, seed)
        state = state_of(cell, seed, folder)
        command = shlex.join(["mmrns", *cell.arguments(seed, runs), "--output", str(folder)])
        rows.append({"cell": cell.name, "seed": seed, "state": state.kind, "detail": state.detail, "command": command})
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        detail = f" ({row['detail']})" if row["detail"] else ""
        print(f"{row['cell']} seed {row['seed']}: {row['state']}{detail}\n    {row['command']}")
    done = sum(row["state"] == "done" for row in rows)
    print(f"{done} of {len(rows)} runs are done")


def _make_tables(grid: "Grid", chosen: "list[tuple[Cell, int]]", runs: Path, results: Path, as_json: bool) -> None:
    """Keep the chosen runs that are done, then write the page and the CSV from everything that is kept."""
    from mmrns.experiments.cells import state_of
    from mmrns.experiments.results import publish
    from mmrns.experiments.summary import summarise
    from mmrns.files import write_text
    from mmrns.report.grid_tables import grid_csv, grid_markdown, grid_records

    kept = results / grid.name
    for cell, seed in chosen:
        folder = cell.folder(runs, seed)
        if state_of(cell, seed, folder).kind == "done":
            publish(cell, seed, folder, cell.folder(kept, seed))
    summaries = summarise(grid, kept)
    page, table = grid_markdown(grid, summaries), grid_csv(grid, summaries)
    write_text(results / f"{grid.name}.md", page)
    write_text(results / f"{grid.name}.csv", table)
    if as_json:
        print(json.dumps(grid_records(grid, summaries), indent=2))
    else:
        print(page, end="")
        print(f"\nwritten: {results / grid.name}.md, {results / grid.name}.csv", file=sys.stderr)
