"""Datasets: a folder with three splits, and optionally what people see of its entities and relations."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from mmrns.errors import UserError
from mmrns.files import read_json_lines
from mmrns.graph.answers import AnswerIndex, Queries
from mmrns.graph.triples import COLUMNS, NAMES, OPENKE, SplitFiles, read_splits
from mmrns.graph.vocabulary import Vocabulary

SPLITS = ("train", "valid", "test")
Split = Literal["train", "valid", "test"]
UNUSED = "unused"
"""Name, beside SPLITS, of known triples that a run neither trains on nor ranks."""
ENTITY_FIELDS, RELATION_FIELDS = ("id", "label", "type", "texts", "images"), ("id", "label")
"""What is read of a line of entities.jsonl and of relations.jsonl; others may stand there."""
_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Dataset:
    """A knowledge graph, read whole; nothing of it is dropped or reordered.

    Attributes:
        name: the folder's name.
        folder: where it was read from.
        entities, relations: every id that occurs in a triple of any split, sorted.
        train, valid, test: (N, 3) int64, columns head, relation, tail, in the files' order.
        records: rows of entities.jsonl by id ({} without that file); ids that occur in no triple are kept here only.
        relation_records: those of relations.jsonl, likewise.
        unused: (M, 3) known triples that are in no split, such as a valid.txt that a slice of train stands in for
            (mmrns/graph/held_out.py); they are known answers, and that is all.
        files: what the files of the splits are called.
    """

    name: str
    folder: Path
    entities: Vocabulary
    relations: Vocabulary
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    records: dict[str, dict[str, Any]]
    unused: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int64))
    files: SplitFiles = NAMES
    relation_records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def split(self, name: str) -> np.ndarray:
        """The (N, 3) triples of "train", "valid", "test" or "unused"."""
        return {"train": self.train, "valid": self.valid, "test": self.test, UNUSED: self.unused}[name]

    def lines(self, split: str) -> list[str]:
        """The split's triples as `head TAB relation TAB tail` (ids), in its order."""
        return self.as_lines(self.split(split))

    def as_lines(self, triples: np.ndarray) -> list[str]:
        """(N, 3) triples as `head TAB relation TAB tail` (ids)."""
        entities, relations = self.entities.ids, self.relations.ids
        return [f"{entities[h]}\t{relations[r]}\t{entities[t]}" for h, r, t in triples.tolist()]

    def answers(self, *splits: str) -> AnswerIndex:
        """Known answers over the given splits (all that is known when none is given)."""
        return self._answers[splits or (*SPLITS, UNUSED)]

    def listed(self, queries: Queries) -> "dict[int, Split]":
        """Known answers of one query by row, with the split that lists them: train before valid before test.

        Unused triples count as valid's, since that is the file they stand in.
        """
        found: dict[int, Split] = {}
        for split in (UNUSED, *reversed(SPLITS)):
            answers = self.answers(split)
            rows = answers.pairs(answers.rows(queries))[1].tolist()
            found |= dict.fromkeys(rows, cast("Split", "valid" if split == UNUSED else split))
        return found

    @cached_property
    def _answers(self) -> "_AnswerCache":
        return _AnswerCache(self)

    @cached_property
    def triples_sha256(self) -> str:
        """Fingerprint of the splits' rows, the unused ones too, in their order."""
        digest = hashlib.sha256()
        for split in (*SPLITS, UNUSED):
            digest.update(f"{split} {len(self.split(split))}\n".encode())
            digest.update(np.ascontiguousarray(self.split(split)).tobytes())
        return digest.hexdigest()

    @cached_property
    def seen(self) -> np.ndarray:
        """(E,) bool: the entity occurs in a train triple."""
        seen = np.zeros(len(self.entities), dtype=bool)
        seen[self.train[:, [0, 2]]] = True
        return seen


class _AnswerCache(dict[tuple[str, ...], AnswerIndex]):
    """Builds each combination of splits once."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        self._dataset = dataset

    def __missing__(self, splits: tuple[str, ...]) -> AnswerIndex:
        triples = np.concatenate([self._dataset.split(split) for split in splits])
        sizes = len(self._dataset.entities), len(self._dataset.relations)
        self[splits] = AnswerIndex(torch.from_numpy(triples), *sizes)
        return self[splits]


def dataset_folder(name: str, flag: str = "") -> Path:
    """Where a dataset lives: the folder `name`, then $MMRNS_DATA/name, then data/name (here, then beside mmrns/).

    Args:
        flag: the option that holds the name, for the error message; "" where it is no option's.
    """
    beside_package = Path(__file__).resolve().parents[2] / "data"
    places = [
        Path(name),
        *(Path(root) / name for root in (os.environ.get("MMRNS_DATA"), "data", beside_package) if root),
    ]
    for place in places:
        if place.is_dir():
            return place
    looked = ", ".join(str(place) for place in places)
    raise UserError(
        f"{flag} {name}: no such dataset (looked in {looked}); give a folder with train.txt, valid.txt, test.txt"
    )


def known_datasets() -> list[Path]:
    """Every dataset folder below $MMRNS_DATA and data/, by name."""
    roots = [Path(os.environ.get("MMRNS_DATA", "data")), Path("data"), Path(__file__).resolve().parents[2] / "data"]
    names = [files.name("train") for files in (NAMES, OPENKE)]
    found = {
        p.parent.name: p.parent for root in reversed(roots) for name in names for p in sorted(root.glob(f"*/{name}"))
    }
    return [found[name] for name in sorted(found)]


def load_dataset(name: str | Path, flag: str = "") -> Dataset:
    """Read a dataset by name or folder, its triples in any of the forms of mmrns/graph/triples.py.

    Args:
        flag: see `dataset_folder`.

    Raises:
        UserError: the folder or a split is missing, a line is malformed (file and line are named), or
            entities.jsonl / relations.jsonl is not what docs/extending.md describes.
    """
    folder = dataset_folder(str(name), flag)
    files, tables = read_splits(folder, SPLITS)
    records = _records(folder / "entities.jsonl")
    relation_records = _records(folder / "relations.jsonl")
    columns = {column: [tables[split][column] for split in SPLITS] for column in COLUMNS}
    entities, rows = _numbered("entity", columns["head"] + columns["tail"], records)
    relations, relation_rows = _numbered("relation", columns["relation"], relation_records)
    del tables, columns
    by_split = zip(SPLITS, rows[: len(SPLITS)], relation_rows, rows[len(SPLITS) :], strict=True)
    arrays = {split: np.stack(parts, axis=1, dtype=np.int64) for split, *parts in by_split}
    return Dataset(
        folder.resolve().name,
        folder,
        entities,
        relations,
        **arrays,
        records=records,
        files=files,
        relation_records=relation_records,
    )


def _records(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    records: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(read_json_lines(path), start=1):
        if record["id"] in records:
            raise UserError(f"{path}:{number}: id {record['id']!r} occurs twice; keep one line an id")
        for key, kind in (("label", str), ("type", str), ("texts", list), ("images", list)):
            value = record.get(key)
            if value is None:
                continue
            if not isinstance(value, kind) or (kind is list and not all(isinstance(item, str) for item in value)):
                wanted = "a list of texts" if kind is list else "a text"
                raise UserError(f'{path}:{number}: "{key}" must be {wanted}; mend the line')
        # JSON may hold one, but no file and no terminal takes it, and these are written and shown everywhere.
        for key in ("id", "label", "type", "images"):
            value = record.get(key) or ""
            if found := _HALF_PAIR.search(value if isinstance(value, str) else "\n".join(value)):
                half = f"\\u{ord(found.group()):04x}"
                raise UserError(f'{path}:{number}: "{key}" holds {half}, half of a surrogate pair; mend the line')
        records[record["id"]] = record
    return records


def _numbered(
    kind: str, columns: list[pa.ChunkedArray], records: dict[str, dict[str, Any]]
) -> tuple[Vocabulary, list[np.ndarray]]:
    """The vocabulary of all names in some columns, and for each column the rows of its names, (N,) int32.

    Names are looked up once, in one hash table for all columns; those of the table are sorted, and not all.
    """
    # In one piece: work on a piece takes as long as its dictionary, which is that of all, however short the piece.
    names = pa.concat_arrays([chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks])
    codes = names.dictionary_encode()
    del names
    found = codes.dictionary
    order = pc.array_sort_indices(found)  # by bytes: UTF-8 sorts as its code points do
    ids = found.take(order).to_pylist()
    row = np.empty(len(ids), dtype=np.int32)
    row[order.to_numpy()] = np.arange(len(ids), dtype=np.int32)
    rows = row[codes.indices.to_numpy()]
    ends = np.cumsum([len(column) for column in columns])
    labels = [records.get(name, {}).get("label") or name for name in ids] if records else []
    return Vocabulary(kind, ids, labels), np.split(rows, ends[:-1])
