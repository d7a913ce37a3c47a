"""What is known of the benchmark datasets' files (datasets.yaml): where they are from, and how to tell them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mmrns.errors import UserError

FILE = Path(__file__).with_name("datasets.yaml")
TRIPLES = ("train2id.txt", "valid2id.txt", "test2id.txt", "entity2id.txt", "relation2id.txt")
TRIPLES_SOURCE = "native-repository"


@dataclass(frozen=True)
class Origin:
    """Where files are obtained.

    Attributes:
        by: whose they are.
        page: the repository that says where they are.
        at: the drive, or the folder of the repository.
        licence: as the repository states it.
    """

    by: str
    page: str
    at: str
    licence: str


@dataclass(frozen=True)
class PublishedFile:
    """A file beside the triples.

    Attributes:
        name: what to call it in the dataset's folder.
        what: what is in it.
        form: "h5", "matrix", "tokens", "codebook", "order" or "links".
        origins: where it is obtained; the first is where its checksum was taken.
        array: tokens and width of its arrays, or the shape of a codebook; None where unknown.
        sha256: of the forms in which it is known; empty where none is.
        command: `mmrns import` with the flags that use it, or "".
    """

    name: str
    what: str
    form: str
    origins: tuple[Origin, ...]
    array: tuple[int | None, int] | None
    sha256: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class PublishedDataset:
    """A benchmark dataset.

    Attributes:
        counts: "entities", "relations", and triples by split.
        triples: by split the SHA-256 of its lines in the published order, and of them sorted.
        triples_origin: where its triples are obtained, in OpenKE's files.
        texts: the command that makes texts of its names, or "".
    """

    name: str
    about: str
    counts: dict[str, int]
    triples: dict[str, tuple[str, str]]
    triples_origin: Origin
    texts: str
    files: tuple[PublishedFile, ...]


@cache
def published_datasets(file: Path = FILE) -> dict[str, PublishedDataset]:
    """Every dataset of the catalogue by name."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))

    def origin(source: str, dataset: str) -> Origin:
        return Origin(**{key: text.format(dataset=dataset) for key, text in content["sources"][source].items()})

    def published_file(entry: dict[str, Any], dataset: str) -> PublishedFile:
        name = entry["name"].format(dataset=dataset)
        flags = entry.get("import", "").format(file=name)
        return PublishedFile(
            name,
            entry["what"],
            entry["form"],
            tuple(origin(entry[key], dataset) for key in ("source", "also") if key in entry),
            tuple(entry["array"]) if "array" in entry else None,
            tuple(entry.get("sha256", ())),
            f"mmrns import {dataset} {flags}" if flags else "",
        )

    return {
        name: PublishedDataset(
            name,
            entry["about"],
            entry["counts"],
            {split: tuple(digests) for split, digests in entry["triples"].items()},
            origin(TRIPLES_SOURCE, name),
            entry.get("texts", ""),
            tuple(published_file(file_entry, name) for file_entry in entry["files"]),
        )
        for name, entry in content["datasets"].items()
    }


def published_dataset(name: str) -> PublishedDataset:
    """A dataset of the catalogue (case ignored); UserError lists them when there is no such one."""
    known = published_datasets()
    for title, dataset in known.items():
        if title.lower() == name.lower():
            return dataset
    raise UserError(f"{name}: not in the catalogue of published datasets; give one of {', '.join(known)}")
