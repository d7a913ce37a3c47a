"""The page of a grid, from summaries made by hand."""

import csv
import dataclasses
import io

import pytest

from mmrns.experiments.bootstrap import Difference
from mmrns.experiments.grid import load_grid
from mmrns.experiments.summary import CellSummary, GroupSummary, Spread
from mmrns.report.grid_tables import differences_table, grid_csv, grid_markdown, overview_table, results_table

GRID = """
title: A title
about: Features of no kind.
published: [KGT, TuckER]
groups: {g: {title: MKG-Y}}
rows:
  base: {label: Base, seeds: 3}
  other: {label: Other, against: base}
  never: {label: Never}
"""


@pytest.fixture
def grid(tmp_path):
    for name, published in (("base", "RotatE"), ("other", "MMRNS"), ("never", "RotatE")):
        file = tmp_path / f"configs/g/{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"dataset: some/where/MKG-Y\npublished: {{method: {published}, mrr: 35.0, source: S}}\n")
    file = tmp_path / "configs/grids/g.yaml"
    file.parent.mkdir()
    file.write_text(GRID)
    return load_grid(file)


def spreads(mrr, std):
    return {name: Spread(mrr + 0.1 * n, std) for n, name in enumerate(("mrr", "hits@1", "hits@3", "hits@10"))}


def summary(cell, seeds, mrr=0.25, std=None, difference=None, scalars=(None, None, None)):
    run = bool(seeds)
    return CellSummary(
        cell=cell,
        seeds=seeds,
        others=(),
        metrics={"test": spreads(mrr, std), "valid": spreads(mrr + 0.01, std)} if run else {},
        parts={"1-1": 0.125, "unseen": None, "degree 0-3": 0.5} if run else {},
        scalars=dict(zip(("entropy", "hardness", "false negatives"), scalars, strict=True)),
        difference=difference,
        steps="300" if run else "",
        minutes=1.26 if run else None,
        selection="mrr on valid" if run else "",
        precision="single" if run else "",
        sees="structure + text" if run else "",
        commits="abc" if run else "",
    )


@pytest.fixture
def groups(grid):
    base, other, never = grid.cells
    rows = (
        summary(base, (0, 2), 0.25, 0.0123),
        summary(other, (0,), 0.26, None, Difference(0.01, -0.002, 0.0221), (0.9876, None, 0.0123)),
        summary(never, ()),
    )
    return [GroupSummary(grid.groups["g"], rows, {"1-1": 1200, "unseen": 0, "degree 0-3": 7})]


def cells(table, label):
    line = next(line for line in table.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rows_are_in_per_cent_with_spread_seeds_and_provenance(grid, groups):
    page = grid_markdown(grid, groups)
    assert "# A title" in page and "Features of no kind." in page and "`mmrns reproduce g --table`" in page
    table = results_table(grid, groups[0])
    assert cells(table, "row") == [
        "row", "MRR", "Hits@1", "Hits@3", "Hits@10", "valid MRR", "seeds", "entropy", "false negatives", "steps",
        "minutes", "selected by", "precision", "sees", "commit",
    ]  # fmt: skip
    assert cells(table, "Base") == [
        "Base", "25.00 ± 1.23", "35.00 ± 1.23", "45.00 ± 1.23", "55.00 ± 1.23", "26.00 ± 1.23", "2 of 3", "", "",
        "300", "1.3", "mrr on valid", "single", "structure + text", "abc",
    ]  # fmt: skip
    assert cells(table, "Other")[:2] == ["Other", "26.00"]
    assert cells(table, "Other")[6:9] == ["1", "0.988", "1.23%"]
    assert cells(table, "Never")[1:] == ["not run", *[""] * 13]


def test_published_rows_follow_each_once_and_say_what_was_only_recalled(grid, groups):
    table = results_table(grid, groups[0])
    published = [line for line in table.splitlines() if "published:" in line]
    assert [line.split("(")[0].strip("| ") for line in published] == [
        "published: RotatE", "published: MMRNS", "published: KGT", "published: TuckER"
    ]  # fmt: skip
    assert cells(table, "published: RotatE (structure)")[1:5] == [
        "34.95",
        "29.10",
        "38.35 (recalled)",
        "45.30 (recalled)",
    ]
    assert cells(table, "published: TuckER (structure)")[1:5] == ["37.05", "34.59", "-", "-"]


def test_the_overview_has_a_column_a_group_and_rows_that_were_run_somewhere(grid, groups):
    table = overview_table(grid, [groups[0], dataclasses.replace(groups[0], cells=groups[0].cells[1:])])
    assert cells(table, "Base") == ["Base", "25.00 ± 1.23 (2 seeds)", ""]
    assert cells(table, "Other") == ["Other", "26.00", "26.00"]
    assert "Never" not in table
    assert cells(table, "published: RotatE (structure)")[1:] == ["34.95", "34.95"]
    assert cells(table, "published: TuckER (structure)")[1] == "37.05"


def test_differences_are_in_points_with_their_interval(grid, groups):
    table = grid_markdown(grid, groups).split("paired bootstrap")[1].split("MRR, per cent, of parts")[0]
    assert cells(table, "Other") == ["Other", "Base", "+1.00", "[-0.20, +2.21]", "1 and 2"]
    assert "Never" not in table


def test_a_difference_says_where_the_two_were_trained_in_other_precisions(groups):
    base, other, _ = groups[0].cells
    table = differences_table(
        dataclasses.replace(groups[0], cells=(base, dataclasses.replace(other, precision="bf16")))
    )
    assert cells(table, "row")[-1] == "precision" and cells(table, "Other")[-1] == "bf16 and single"
    assert "precision" not in differences_table(groups[0])


def test_parts_count_their_queries(grid, groups):
    page = grid_markdown(grid, groups)
    assert cells(page.split("MRR, per cent, of parts")[1], "Base") == ["Base", "12.5", "", "50.0"]
    assert cells(page, "queries") == ["queries", "1,200", "0", "7"]


def test_the_csv_has_fractions_and_empty_fields(grid, groups):
    rows = list(csv.DictReader(io.StringIO(grid_csv(grid, groups))))
    base, other, never = rows
    assert (base["test_mrr"], base["test_mrr_std"], base["published_mrr"]) == ("0.250000", "0.012300", "0.3500")
    assert (other["difference"], other["difference_low"]) == ("0.010000", "-0.002000")
    assert (other["against"], other["entropy"], other["hardness"], other["test_mrr_std"]) == (
        "base",
        "0.987600",
        "",
        "",
    )
    assert (base["test_mrr_1_to_1"], base["test_mrr_unseen"], base["test_mrr_degree_1"]) == ("0.125000", "", "0.500000")
    assert never["state"] == "not run" and never["test_mrr"] == never["seeds"].strip("0") == never["commit"] == ""
    assert (base["published_method"], base["published_source"]) == ("RotatE", "S")
    assert base["command"] == "mmrns reproduce g --only g/base"


def test_a_method_that_nobody_lists_is_an_error(grid, groups):
    from dataclasses import replace

    from mmrns.errors import UserError

    with pytest.raises(UserError, match=r"Nobody: no such method in published\.csv"):
        grid_markdown(replace(grid, published=("Nobody",)), groups)
