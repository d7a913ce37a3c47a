"""Statistics and leak counts of a finished dataset folder, read back from its files alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pictokg.graph import Triple

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Dataset:
    """The files of a dataset folder."""

    splits: dict[str, list[Triple]]
    entities: list[dict[str, Any]]
    relations: dict[str, str]

    @property
    def triples(self) -> list[Triple]:
        """All triples."""
        return [triple for split in self.splits.values() for triple in split]


@dataclass(frozen=True)
class RelationRow:
    """A relation in the table of the README."""

    id: str
    label: str
    counts: tuple[int, ...]
    heads: int
    tails: int
    category: str


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset folder."""
    return Dataset(
        splits={name: read_triples(folder / f"{name}.txt") for name in SPLITS},
        entities=_read_lines(folder / "entities.jsonl"),
        relations={line["id"]: line["label"] for line in _read_lines(folder / "relations.jsonl")},
    )


def read_triples(path: Path) -> list[Triple]:
    """Read a split."""
    triples = []
    for line in path.read_text(encoding="utf-8").splitlines():
        head, relation, tail = line.split("\t")
        triples.append((head, relation, tail))
    return triples


def relation_table(dataset: Dataset) -> list[RelationRow]:
    """One row a relation, the largest first; the category follows the usual 1.5 rule."""
    rows = []
    for id, label in dataset.relations.items():
        counts = tuple(sum(name == id for _, name, _ in split) for split in dataset.splits.values())
        pairs = [(head, tail) for head, name, tail in dataset.triples if name == id]
        heads, tails = {head for head, _ in pairs}, {tail for _, tail in pairs}
        category = f"{_one_or_many(len(pairs) / len(tails))}-{_one_or_many(len(pairs) / len(heads))}"
        rows.append(RelationRow(id, label, counts, len(heads), len(tails), category))
    return sorted(rows, key=lambda row: (-sum(row.counts), row.id))


def overlapping_relations(triples: list[Triple], least: float) -> list[tuple[str, str, str, float]]:
    """(relation, "same" or "reversed", other relation, share) where at least this share of pairs is shared."""
    pairs: dict[str, set[tuple[str, str]]] = {}
    for head, relation, tail in triples:
        pairs.setdefault(relation, set()).add((head, tail))
    reversed_pairs = {relation: {(tail, head) for head, tail in found} for relation, found in pairs.items()}
    overlaps = []
    for one, other in product(sorted(pairs), repeat=2):
        for way, others in (("same", pairs[other]), ("reversed", reversed_pairs[other])):
            share = len(pairs[one] & others) / len(pairs[one])
            if share >= least and not (one == other and way == "same"):
                overlaps.append((one, way, other, share))
    return overlaps


def pairs_across_splits(dataset: Dataset) -> int:
    """How many unordered entity pairs have triples in more than one split."""
    seen = Counter(
        pair
        for split in dataset.splits.values()
        for pair in {(min(head, tail), max(head, tail)) for head, _, tail in split}
    )
    return sum(count > 1 for count in seen.values())


def same_pictures(dataset: Dataset, folder: Path) -> int:
    """How many entities have a picture that is byte for byte that of another entity."""
    owners: dict[bytes, set[str]] = {}
    for entity in dataset.entities:
        for image in entity["images"]:
            owners.setdefault((folder / image).read_bytes(), set()).add(entity["id"])
    return len({id for shared in owners.values() if len(shared) > 1 for id in shared})


def _one_or_many(average: float) -> str:
    return "1" if average < 1.5 else "N"


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
