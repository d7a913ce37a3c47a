"""Numbers that others have published, in per cent (published.csv), with where each was read."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmrns.errors import UserError

FILE = Path(__file__).with_name("published.csv")
METRICS = ("mrr", "hits@1", "hits@3", "hits@10")


@dataclass(frozen=True)
class PublishedRow:
    """A method on a dataset.

    Attributes:
        kind: structure, sampling, multimodal or llm.
        values: metric -> per cent, of those that are known.
        recalled: the metrics whose number was not seen in a source; nothing is judged by them.
    """

    dataset: str
    method: str
    kind: str
    values: dict[str, float]
    recalled: frozenset[str]
    source: str


@cache
def published_rows(file: Path = FILE) -> dict[tuple[str, str], PublishedRow]:
    """Every row by (dataset in lower case, method)."""
    with file.open(encoding="utf-8", newline="") as lines:
        records = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    rows: dict[tuple[str, str], PublishedRow] = {}
    for record in records:
        key = record["dataset"].lower(), record["method"]
        row = rows.get(key) or PublishedRow(*key, record["class"], {}, frozenset(), record["source"])
        recalled = row.recalled | ({record["metric"]} if record["verified"] != "yes" else set())
        values = {**row.values, record["metric"]: float(record["value"])}
        rows[key] = PublishedRow(*key, row.kind, values, recalled, row.source)
    return rows


def published_row(dataset: str, method: str) -> PublishedRow | None:
    """The row of a method, None where there is none for the dataset; UserError for a method nobody lists."""
    rows = published_rows()
    if not any(name == method for _, name in rows):
        raise UserError(f"published: {method}: no such method in {FILE.name}; add its rows there")
    return rows.get((dataset.lower(), method))
