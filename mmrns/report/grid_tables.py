"""A grid's results as Markdown and as CSV, from what results/ keeps."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from mmrns.experiments.bootstrap import RESAMPLES, Difference
from mmrns.experiments.grid import Grid
from mmrns.experiments.published import PublishedRow, published_row
from mmrns.experiments.results import METRICS
from mmrns.experiments.summary import CellSummary, GroupSummary, Spread
from mmrns.report.tables import markdown_table

_TITLES = {"mrr": "MRR", "hits@1": "Hits@1", "hits@3": "Hits@3", "hits@10": "Hits@10"}
_SCALARS = {"entropy": "{:.3f}", "hardness": "{:.2f}", "false negatives": "{:.2%}"}
_COURSE = ("steps", "minutes", "selected by", "precision", "sees", "commit")
NOT_RUN = "not run"
_HOW_TO_READ = (
    "Test split, per cent, both directions, filtered, ties at their mean rank; mean ± standard deviation over seeds. "
    "The checkpoint is selected as `selected by` says, by the `valid MRR`, which is left out where nothing was "
    "selected; test is read once, at the end of a run."
)
_DIFFERENCES = (
    f"Difference in MRR, in points, with its 95 % interval from {RESAMPLES:,} paired bootstrap resamples of test "
    "triples (both queries of a triple together, reciprocal ranks averaged over seeds first; seeds are not resampled). "
    "An interval that holds 0 means that the test set cannot tell the two apart."
)
_PARTS = "MRR, per cent, of parts of the test queries, mean over seeds; the last row counts the queries of each part."


def grid_markdown(grid: Grid, summaries: list[GroupSummary]) -> str:
    """The page of a grid: for each group its results, its differences and its parts."""
    lines = [f"# {grid.title}", ""]
    if grid.about:
        lines += [grid.about, ""]
    lines += [
        f"`mmrns reproduce {grid.name}` runs what is missing, `mmrns reproduce {grid.name} --only GROUP/ROW` one row, "
        f"and `mmrns reproduce {grid.name} --table` makes this page. {_HOW_TO_READ}",
        "",
    ]
    for summary in summaries:
        lines += [f"## {summary.group.title}", "", results_table(grid, summary), "", *_notes(summary)]
        differences = differences_table(summary)
        if differences:
            lines += [_DIFFERENCES, "", differences, ""]
        if summary.counts:
            lines += [_PARTS, "", parts_table(summary), ""]
    return "\n".join(lines).rstrip() + "\n"


def overview_table(grid: Grid, summaries: list[GroupSummary]) -> str:
    """MRR of test alone, a column a group: the rows that have been run in one of them, then the published ones."""
    ours = {cell.cell.row: cell.cell.label for summary in summaries for cell in summary.cells if cell.seeds}
    cells = [{cell.cell.row: cell for cell in summary.cells if cell.seeds} for summary in summaries]
    published = [{row.method: row for row in published_beside(grid, summary)} for summary in summaries]
    theirs = {method: f"published: {method} ({row.kind})" for rows in published for method, row in rows.items()}
    rows = [[label, *(_with_seeds(found.get(row)) for found in cells)] for row, label in ours.items()]
    rows += [
        [label, *(_published_value(found[method], "mrr") if method in found else "" for found in published)]
        for method, label in theirs.items()
    ]
    return markdown_table(["MRR", *(summary.group.title for summary in summaries)], rows)


def results_table(grid: Grid, summary: GroupSummary) -> str:
    """A row a cell, then the published rows that belong beside them."""
    # Columns that no cell of the group fills, such as the sampler's scalars of a uniform grid, are left out.
    scalars = [name for name in _SCALARS if any(cell.scalars.get(name) is not None for cell in summary.cells)]
    header = ["row", *_TITLES.values(), "valid MRR", "seeds", *scalars, *_COURSE]
    rows = [_result_row(cell, scalars, len(header)) for cell in summary.cells]
    for published in published_beside(grid, summary):
        cells = [_published_value(published, metric) for metric in METRICS]
        label = f"published: {published.method} ({published.kind})"
        rows.append([label, *cells, *[""] * (len(header) - 1 - len(cells))])
    return markdown_table(header, rows)


def _result_row(cell: CellSummary, scalars: list[str], width: int) -> list[str]:
    if not cell.seeds:
        return [cell.cell.label, NOT_RUN, *[""] * (width - 2)]
    return [
        cell.cell.label,
        *(_spread(cell.metrics["test"][name]) for name in METRICS),
        _spread(cell.metrics["valid"]["mrr"]) if "valid" in cell.metrics else "",
        _seeds(cell),
        *(_or_blank(cell.scalars[name], _SCALARS[name]) for name in scalars),
        cell.steps,
        _or_blank(cell.minutes, "{:.1f}"),
        cell.selection,
        cell.precision,
        cell.sees,
        cell.commits,
    ]


def _notes(summary: GroupSummary) -> list[str]:
    """A paragraph on each kept result that the table does not count."""
    lines = [line for row in summary.cells for line in row.others]
    return [text for line in lines for text in (f"Not counted: {line}.", "")]


def differences_table(summary: GroupSummary) -> str:
    """A row a comparison that can be made; "" without one."""
    labels = {cell.cell.row: cell for cell in summary.cells}
    rows = []
    for cell in summary.cells:
        if cell.difference is None:
            continue
        other = labels[cell.cell.against]
        seeds = f"{len(cell.seeds)} and {len(other.seeds)}"
        # Two runs that differ in precision differ in more than the row's name says.
        precision = "" if cell.precision == other.precision else f"{cell.precision} and {other.precision}"
        rows.append([cell.cell.label, other.cell.label, *_interval(cell.difference), seeds, precision])
    width = 6 if any(row[-1] for row in rows) else 5
    header = ["row", "against", "difference", "95 % interval", "seeds", "precision"]
    return markdown_table(header[:width], [row[:width] for row in rows]) if rows else ""


def parts_table(summary: GroupSummary) -> str:
    """MRR by part of test, a row a cell that has been run."""
    rows = [
        [cell.cell.label, *(_or_blank(cell.parts.get(part), "{:.1%}").rstrip("%") for part in summary.counts)]
        for cell in summary.cells
        if cell.seeds
    ]
    counts = ["queries", *(f"{count:,}" for count in summary.counts.values())]
    return markdown_table(["row", *summary.counts], [*rows, counts])


def published_beside(grid: Grid, summary: GroupSummary) -> list[PublishedRow]:
    """Published rows of the methods that the group's configurations or the grid name, each once."""
    datasets = {cell.cell.config().dataset.rstrip("/").split("/")[-1] for cell in summary.cells}
    methods = [cell.cell.published.get("method") for cell in summary.cells]
    found = [
        published_row(dataset, str(method))
        for dataset in sorted(datasets)
        for method in dict.fromkeys([*filter(None, methods), *grid.published])
    ]
    return [row for row in found if row is not None]


def grid_records(grid: Grid, summaries: list[GroupSummary]) -> list[dict[str, Any]]:
    """Every number of the page, as text; rates are fractions, fields of a cell without a run are empty."""
    return [record for summary in summaries for record in _records(grid, summary)]


def grid_csv(grid: Grid, summaries: list[GroupSummary]) -> str:
    """The records as a table with a header."""
    records = grid_records(grid, summaries)
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _records(grid: Grid, summary: GroupSummary) -> Iterable[dict[str, Any]]:
    for cell in summary.cells:
        config = cell.cell.config()
        record: dict[str, Any] = {
            "group": cell.cell.group,
            "row": cell.cell.row,
            "state": "run" if cell.seeds else NOT_RUN,
            "dataset": config.dataset,
            "model": config.model,
            "sampler": config.sampler if config.samples else "none",
            "objective": config.objective,
            "seeds": len(cell.seeds),
            "seeds_planned": cell.cell.seeds,
        }
        for split in ("test", "valid"):
            for name in METRICS:
                spread = cell.metrics.get(split, {}).get(name)
                record[f"{split}_{name}"] = _number(spread.mean if spread else None)
                record[f"{split}_{name}_std"] = _number(spread.std if spread else None)
        published = cell.cell.published
        record |= {f"published_{name}": _per_cent(published.get(name)) for name in METRICS}
        record |= {f"published_{name}": published.get(name, "") for name in ("method", "source")}
        difference = cell.difference
        record |= {
            "against": cell.cell.against,
            "difference": _number(difference.mean if difference else None),
            "difference_low": _number(difference.low if difference else None),
            "difference_high": _number(difference.high if difference else None),
        }
        record |= {name.replace(" ", "_"): _number(value) for name, value in cell.scalars.items()}
        record |= {
            f"test_mrr_{_part(name)}": _number(value) for name, value in cell.parts.items() if "degree" not in name
        }
        quartiles = [value for name, value in cell.parts.items() if "degree" in name]
        record |= {f"test_mrr_degree_{number}": _number(value) for number, value in enumerate(quartiles, start=1)}
        record |= {
            "steps": cell.steps,
            "minutes": _number(cell.minutes, 3),
            "selected_by": cell.selection,
            "precision": cell.precision,
            "sees": cell.sees,
            "commit": cell.commits,
            "command": f"mmrns reproduce {grid.name} --only {cell.cell.name}",
        }
        yield record


def _part(name: str) -> str:
    return name.replace("-", "_to_") if name[0] in "1N" else name


def _number(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _per_cent(value: float | None) -> str:
    """A fraction, as the other columns are, of a published number in per cent."""
    return "" if value is None else f"{value / 100:.4f}"


def _spread(spread: Spread) -> str:
    mean = f"{100 * spread.mean:.2f}"
    return mean if spread.std is None else f"{mean} ± {100 * spread.std:.2f}"


def _with_seeds(cell: CellSummary | None) -> str:
    if cell is None:
        return ""
    return _spread(cell.metrics["test"]["mrr"]) + (f" ({len(cell.seeds)} seeds)" if len(cell.seeds) > 1 else "")


def _seeds(cell: CellSummary) -> str:
    """How many seeds there are, and of how many where some are missing."""
    found, planned = len(cell.seeds), cell.cell.seeds
    return str(found) if found >= planned else f"{found} of {planned}"


def _interval(difference: Difference) -> list[str]:
    low, high = 100 * difference.low, 100 * difference.high
    return [f"{100 * difference.mean:+.2f}", f"[{low:+.2f}, {high:+.2f}]"]


def _published_value(row: PublishedRow, metric: str) -> str:
    if metric not in row.values:
        return "-"
    return f"{row.values[metric]:.2f}" + (" (recalled)" if metric in row.recalled else "")


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
