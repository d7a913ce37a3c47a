"""Write the dataset folder, and compare two of them byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pictokg.graph import RELATION_LABELS, Graph
from pictokg.split import Split


def write_split(split: Split, folder: Path) -> None:
    """`train.txt`, `valid.txt` and `test.txt`."""
    for name, triples in split.items():
        write_text(folder / f"{name}.txt", "".join("\t".join(triple) + "\n" for triple in triples))


def write_entities(graph: Graph, texts: Mapping[str, list[str]], images: Mapping[str, list[str]], folder: Path) -> None:
    """`entities.jsonl`, sorted by id."""
    write_json_lines(
        folder / "entities.jsonl",
        (
            {"id": id, "label": entity.label, "texts": texts[id], "images": images[id], "type": entity.type}
            for id, entity in sorted(graph.entities.items())
        ),
    )


def write_relations(graph: Graph, folder: Path) -> None:
    """`relations.jsonl`, sorted by id."""
    used = sorted({relation for _, relation, _ in graph.triples})
    write_json_lines(folder / "relations.jsonl", ({"id": id, "label": RELATION_LABELS[id]} for id in used))


def write_json_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """One JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """UTF-8 with LF, on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def first_difference(folder: Path, rebuilt: Path) -> str | None:
    """One line about the first file, by name, that two folders do not share byte for byte."""
    here, there = _files(folder), _files(rebuilt)
    for name in sorted(here | there):
        if name not in here:
            return f"{folder / name} is missing"
        if name not in there:
            return f"{folder / name} is not made by the builder"
        if (folder / name).read_bytes() != (rebuilt / name).read_bytes():
            return f"{folder / name} differs from what the builder makes"
    return None


def _files(folder: Path) -> set[str]:
    """Every file but what `mmrns extract` leaves beside them."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.removeprefix(".").startswith("features.")}
