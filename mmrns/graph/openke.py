"""OpenKE's files: numbered names, and triples of numbers in the order head, tail, relation.

Each begins with its number of rows. `entity2id.txt` and `relation2id.txt` hold `name NUMBER` (the number comes last; a
name may hold blanks), `train2id.txt`, `valid2id.txt` and `test2id.txt` hold `HEAD TAIL RELATION`.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mmrns.errors import UserError

ENTITIES, RELATIONS = "entity2id.txt", "relation2id.txt"


def read_numbered(folder: Path, paths: dict[str, Path]) -> dict[str, tuple[pa.Array, pa.Array, pa.Array]]:
    """Heads, relations and tails of each file as names, in the files' order.

    Raises UserError with file and line for what is not as described.
    """
    entities, relations = read_names(folder / ENTITIES), read_names(folder / RELATIONS)
    return {split: _read_triples(path, entities, relations) for split, path in paths.items()}


def read_names(path: Path) -> list[str]:
    """Names by number; the first line may be their number, or be left out, as some authors do.

    Raises UserError with file and line for a missing file, a line without a number, a number out of range or given
    twice, a name given twice, or a wrong number of names.
    """
    lines = _lines(path)
    said = int(lines[0]) if lines[0].isdecimal() else None
    start = 0 if said is None else 1
    names: list[str | None] = [None] * (len(lines) - start)
    lines_by_name: dict[str, int] = {}
    for number, line in enumerate(lines[start:], start=start + 1):
        name, _, last = line.replace("\t", " ").rpartition(" ")
        name = line[: len(name)].strip()
        if not name or not last.isdecimal():
            raise UserError(f"{path}:{number}: not a name and its number; write `name NUMBER`")
        row = int(last)
        if row >= len(names):
            raise UserError(f"{path}:{number}: number {row} with {len(names)} names; count from 0 without a gap")
        if names[row] is not None:
            raise UserError(f"{path}:{number}: number {row} is given twice; give each name one of its own")
        if name in lines_by_name:
            raise UserError(f"{path}:{number}: {name!r} stands in line {lines_by_name[name]} too; keep one line a name")
        names[row] = name
        lines_by_name[name] = number
    if said not in (None, len(names)):
        raise UserError(f"{path}:1: says {said} names, and {len(names)} follow; mend the number or the file")
    return [name for name in names if name is not None]


def read_order(path: Path) -> list[str]:
    """Names by number from an entity2id.txt, or from a file of names alone, one a line.

    Raises UserError as `read_names`.
    """
    lines = _lines(path)
    numbered = all(line.replace("\t", " ").rpartition(" ")[2].isdecimal() for line in lines)
    return read_names(path) if numbered and any(" " in line or "\t" in line for line in lines) else lines


def _read_triples(path: Path, entities: list[str], relations: list[str]) -> tuple[pa.Array, pa.Array, pa.Array]:
    lines = _lines(path)
    if not lines[0].isdecimal():
        raise UserError(f"{path}:1: not the number of triples, which OpenKE's files begin with; add it")
    rows = np.empty((len(lines) - 1, 3), dtype=np.int64)
    for row, line in enumerate(lines[1:]):
        numbers = line.split()
        if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            raise UserError(f"{path}:{row + 2}: not three numbers; write HEAD TAIL RELATION")
        try:
            rows[row] = [int(number) for number in numbers]
        except (OverflowError, ValueError):  # ValueError: of thousands of digits
            raise UserError(f"{path}:{row + 2}: a number beyond 64 bits; write HEAD TAIL RELATION") from None
    if int(lines[0]) != len(rows):
        raise UserError(f"{path}:1: says {lines[0]} triples, and {len(rows)} follow; mend the number or the file")
    if not len(rows):
        raise UserError(f"{path}: holds no triple; write HEAD TAIL RELATION, one triple a line")
    for column, names, kind in ((0, entities, "entity"), (1, entities, "entity"), (2, relations, "relation")):
        wrong = np.flatnonzero(rows[:, column] >= len(names))
        if len(wrong):
            said = f"{kind} {rows[wrong[0], column]} of {len(names)}"
            raise UserError(
                f"{path}:{wrong[0] + 2}: {said}; the order is HEAD TAIL RELATION, and names are in {kind}2id.txt"
            )
    head, tail, relation = rows.T
    return pa.array(entities).take(head), pa.array(relations).take(relation), pa.array(entities).take(tail)


def _lines(path: Path) -> list[str]:
    """Lines of a text file without their ends; UserError for a missing or empty file, or one that is not UTF-8."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: missing; add it, or check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from error
    if lines == [""]:
        raise UserError(f"{path}: is empty; restore the file")
    return [line.rstrip("\r") for line in lines]
