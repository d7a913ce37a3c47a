"""Reading a split file: UTF-8, head TAB relation TAB tail, one triple a line."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv

from mmrns.errors import UserError

COLUMNS = ["head", "relation", "tail"]


def read_triples(path: Path) -> pa.Table:
    """Read `path` into a table of three text columns, every row as it stands (duplicates too).

    Raises UserError with file and line for a missing or empty file, a wrong column count, an empty name or bytes
    that are not UTF-8.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; a dataset folder needs train.txt, valid.txt and test.txt")
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


def _first_fault(path: Path) -> str | None:
    """Name the first line that is wrong. Slow and plain: it runs only after the fast reader has refused a file."""
    content = path.read_bytes()
    if not content.strip():
        return f"{path}: is empty; write one triple a line: head TAB relation TAB tail"
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            names = line.decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            return f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8"
        if not line.strip():
            return f"{path}:{number}: a blank line; remove it"
        if len(names) != 3:
            return f"{path}:{number}: {len(names)} columns instead of 3; write head TAB relation TAB tail"
        if not all(names):
            return f"{path}:{number}: an empty name; write head TAB relation TAB tail"
    return None
