"""Reading the triples of a split as they are published: a file of names, or OpenKE's files of numbers.

- names, tab-separated: `head TAB relation TAB tail`.
- names in the manner of N-Triples (MMKB, and what was made from it): `head relation tail .`, separated by a blank or
  a tab, and ended by a dot of its own. Names keep their angle brackets, within which they may hold blanks.
- OpenKE: `mmrns/graph/openke.py`.

Which it is, is read from the folder and the first line of each file.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.csv as csv

from mmrns.errors import UserError
from mmrns.graph.openke import read_numbered

COLUMNS = ["head", "relation", "tail"]
# What stands between columns in other tables, the more telling first.
_NO_TABS = {",": "commas", ";": "semicolons", "|": "bars", " ": "blanks"}

# A line of N-Triples. With tabs it must begin with an IRI, so that a tab-separated name may end in " .".
_NAME = r"(<[^>\t]*>|[^\s<]\S*)"
_N_TRIPLES = re.compile(rf"(?![^<]\S*\t){_NAME}[ \t]{_NAME}[ \t]{_NAME}[ \t]\.")


@dataclass(frozen=True)
class SplitFiles:
    """How the files of a dataset's splits are called and where their rows begin.

    Attributes:
        suffix: after "train", "valid" and "test".
        first_line: the line of the first triple.
    """

    suffix: str
    first_line: int

    def name(self, split: str) -> str:
        """The file of a split."""
        return f"{split}{self.suffix}"

    def place(self, split: str, row: int) -> str:
        """file:line of a row."""
        return f"{self.name(split)}:{row + self.first_line}"


NAMES, OPENKE = SplitFiles(".txt", 1), SplitFiles("2id.txt", 2)


def split_files(folder: Path, splits: tuple[str, ...]) -> SplitFiles:
    """Which files of a folder hold its splits; names where all splits have both.

    Raises UserError for a split that is missing, or that is there in the other form only.
    """
    there = {files: [split for split in splits if (folder / files.name(split)).is_file()] for files in (NAMES, OPENKE)}
    for files, found in there.items():
        if len(found) == len(splits):
            return files
    if there[NAMES] and there[OPENKE]:
        both = f"{NAMES.name(there[NAMES][0])} and {OPENKE.name(there[OPENKE][0])}"
        raise UserError(f"{folder}: {both}: two formats, and neither has all of {', '.join(splits)}; give all in one")
    files = OPENKE if there[OPENKE] else NAMES
    missing = next(split for split in splits if split not in there[files])
    raise UserError(
        f"{folder / files.name(missing)}: missing; a dataset folder needs "
        f"{', '.join(files.name(split) for split in splits[:-1])} and {files.name(splits[-1])}"
        + (_under_another_name(folder, missing) if files is NAMES else "")
    )


def _under_another_name(folder: Path, split: str) -> str:
    """What to do with a table that may be the split that is missing; "" where there is none."""
    if (folder / f"{split}.tsv").is_file():
        return f" (there is {split}.tsv: rename it to {NAMES.name(split)})"
    if (folder / f"{split}.csv").is_file():
        return f" (there is {split}.csv: convert it to tab-separated {NAMES.name(split)})"
    return ""


def read_splits(folder: Path, splits: tuple[str, ...]) -> tuple[SplitFiles, dict[str, pa.Table]]:
    """Every split as a table of three text columns, every row as it stands (duplicates too)."""
    files = split_files(folder, splits)
    if files is OPENKE:
        numbered = read_numbered(folder, {split: folder / files.name(split) for split in splits})
        return files, {split: pa.table(dict(zip(COLUMNS, columns, strict=True))) for split, columns in numbered.items()}
    return files, {split: read_triples(folder / files.name(split)) for split in splits}


def read_triples(path: Path) -> pa.Table:
    """Read a file of names into a table of three text columns, every row as it stands (duplicates too).

    Raises UserError with file and line for an empty file, a wrong column count, an empty name, a line of another form
    than the first, or bytes that are not UTF-8.
    """
    with path.open("rb") as file:
        first = file.readline().decode("utf-8", "replace").rstrip("\r\n")
    if _N_TRIPLES.fullmatch(first.removeprefix("\ufeff")):
        return _read_n_triples(path)
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(column_names=COLUMNS),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(column_types={column: pa.string() for column in COLUMNS}),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(_first_fault(path) or f"{path}: cannot be read ({error}); check the file") from error
    lengths = [pa.compute.min(pa.compute.binary_length(table[column])).as_py() for column in COLUMNS]
    if table.num_rows == 0 or 0 in lengths:
        raise UserError(_first_fault(path) or f"{path}: holds an empty name; mend or remove the line")
    return table


def _read_n_triples(path: Path) -> pa.Table:
    columns: tuple[list[str], list[str], list[str]] = ([], [], [])
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            text = line.decode("utf-8").removeprefix("\ufeff" if number == 1 else "")
        except UnicodeDecodeError as error:
            _not_utf8(path, number, line, error)
        found = _N_TRIPLES.fullmatch(text)
        if not found:
            raise UserError(f"{path}:{number}: not `head relation tail .` as line 1 is; write one form throughout")
        for column, name in zip(columns, found.groups(), strict=True):
            column.append(name)
    return pa.table(dict(zip(COLUMNS, columns, strict=True)))


def _first_fault(path: Path) -> str | None:
    """Name the first line that is wrong. Slow and plain: it runs only after the fast reader has refused a file."""
    content = path.read_bytes()
    if not content.strip():
        return f"{path}: is empty; write one triple a line: head TAB relation TAB tail"
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            _not_utf8(path, number, line, error)
        names = text.split("\t")
        if not line.strip():
            return f"{path}:{number}: a blank line; remove it"
        if _N_TRIPLES.fullmatch(text):
            return f"{path}:{number}: `head relation tail .`, and line 1 is not; write one form throughout"
        if len(names) != 3:
            columns = f"{len(names)} column{'s' * (len(names) > 1)} instead of 3"
            return f"{path}:{number}: {columns};{_other_separator(text)} write head TAB relation TAB tail"
        if not all(names):
            return f"{path}:{number}: an empty name; write head TAB relation TAB tail"
    return None


def _other_separator(line: str) -> str:
    """What a line seems to have between its columns where that is no tab; "" where nothing seems to."""
    parts = {name: len(line.split(mark)) for mark, name in _NO_TABS.items()}
    likely = [name for name, number in parts.items() if number == 3] or [n for n, number in parts.items() if number > 3]
    return f" the line seems to be separated by {likely[0]}:" if likely and "\t" not in line else ""


def _not_utf8(path: Path, number: int, line: bytes, error: UnicodeDecodeError) -> NoReturn:
    raise UserError(f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8") from error
