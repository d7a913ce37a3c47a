"""Markdown tables of metrics."""

from typing import Any

from mmrns.evaluation.metrics import HITS

_COLUMNS = ("mrr", "mr", "amri", *(f"hits@{k}" for k in HITS))


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Rows under a header, columns padded so that the text reads as a table too; bars within cells are escaped."""
    header, *rows = [[escaped(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def escaped(cell: str) -> str:
    """A cell whose bars do not end it."""
    return cell.replace("|", r"\|")


def metrics_table(parts_by_name: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A row a part ("both", "head", ...) of each named split; parts without a query are left out."""
    rows = []
    for name, parts in parts_by_name.items():
        for part, metrics in parts.items():
            if metrics["count"]:
                rows.append(
                    [name, part, *(_number(metrics[column], column) for column in _COLUMNS), str(metrics["count"])]
                )
    return markdown_table(["split", "queries", *_COLUMNS, "count"], rows)


def _number(value: float | None, column: str) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if column == "mr" else f"{value:.4f}"
