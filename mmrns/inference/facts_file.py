"""Files of proposed facts: Parquet, TSV and N-Triples, written block by block, resumable, never half-written."""

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.lib import ArrowException
from tqdm import tqdm

from mmrns.errors import UserError
from mmrns.evaluation.candidates import best_facts
from mmrns.files import atomic_path, claimed, lock_file, read_json, write_json
from mmrns.graph import Dataset
from mmrns.graph.answers import TAIL
from mmrns.inference.completion import Completion

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("head", "relation", "tail", "head_label", "relation_label", "tail_label")]
    + [("asked", pa.string()), ("score", pa.float32()), ("probability", pa.float64())]
)
"""Columns of a file of facts; "asked" is the side that was asked for, "probability" null without calibration."""

_ROWS_AT_ONCE = 50_000
_BLANKS = re.compile(r"[\t\r\n]+")
_ABSOLUTE_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x20<>\"{}|^`\\]+")


def check_output(output: Path, top: int) -> None:
    """Raise UserError for an unknown suffix, a folder, or a negative `top`: before the work, not after it."""
    if output.suffix.lower() not in _WRITERS:
        raise UserError(f"--output {output}: end its name in .parquet, .tsv or .nt (N-Triples)")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; give a file")
    if top < 0:
        raise UserError(f"--top {top}: ask for at least 1 fact, or 0 for -k a question")


def write_facts(completion: Completion, output: Path, top: int) -> dict[str, int]:
    """Write the facts of a completion to `output`, as its suffix says: .parquet, .tsv or .nt.

    Answered blocks of questions are kept in a folder beside the output until it is written. The same call finds them
    again, so a killed one goes on, and gives the same bytes.

    Args:
        top: the best so many facts, each once, best first; 0: all, question by question, where a fact that both of its
            questions propose has two rows.

    Returns:
        "questions" asked, "facts" written, and "resumed": questions whose answers an interrupted call had kept.

    Raises:
        UserError: see `check_output`; a file that cannot be written, or that another call is writing.
    """
    check_output(output, top)
    with claimed(output) as free:
        if not free:
            raise UserError(f"--output {output}: another call is writing it; wait for it to end, or give another file")
        try:
            return _write(completion, output, top)
        finally:
            with contextlib.suppress(OSError):  # what stays is an empty file
                lock_file(output).unlink()


def _write(completion: Completion, output: Path, top: int) -> dict[str, int]:
    parts = _Parts(output, completion)
    resumed = parts.fill()
    written = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal written
        for facts in _in_pieces(_best(parts, top)) if top else parts:
            written += len(facts)
            yield _named(completion.dataset, facts)

    with atomic_path(output) as temporary:
        _WRITERS[output.suffix.lower()](temporary, tables(), completion.dataset.name)
    parts.remove()
    return {"questions": completion.questions.number, "facts": written, "resumed": resumed}


class _Parts:
    """The folder of answered blocks beside the output; iterates over their facts."""

    def __init__(self, output: Path, completion: Completion) -> None:
        self._folder = output.with_name(f".{output.name}.parts")
        self._completion = completion
        note = self._folder / "made_from.json"
        try:
            same = note.is_file() and read_json(note, "delete it") == completion.sha256
        except UserError:
            same = False
        if not same:
            self.remove()
            write_json(note, completion.sha256)

    def fill(self) -> int:
        """Answer what is not answered yet; returns the questions that were."""
        completion, resumed = self._completion, 0
        shown = None if completion.progress else True
        with tqdm(total=completion.questions.number, desc="predict", unit="question", disable=shown) as bar:
            for number, block in enumerate(completion.blocks()):
                if self._path(number).is_file():
                    resumed += len(block.anchors)
                else:
                    with atomic_path(self._path(number)) as temporary:
                        completion.facts(block).to_parquet(temporary, index=False)
                bar.update(len(block.anchors))
        return resumed

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for number, _ in enumerate(self._completion.blocks()):
            try:
                yield pd.read_parquet(self._path(number))
            except (ArrowException, OSError) as error:
                raise UserError(f"{self._path(number)}: cannot be read ({error}); delete it and run again") from error

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _best(parts: Iterable[pd.DataFrame], top: int) -> pd.DataFrame:
    """The best facts of all parts, of which no more than the best so far and _ROWS_AT_ONCE are held."""
    held: list[pd.DataFrame] = []
    for facts in parts:
        held.append(facts)
        if sum(map(len, held)) > top + _ROWS_AT_ONCE:
            held = [best_facts(pd.concat(held), top)]
    return best_facts(pd.concat(held), top)


def _in_pieces(facts: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(facts), _ROWS_AT_ONCE):
        yield facts[start : start + _ROWS_AT_ONCE]


def _named(dataset: Dataset, facts: pd.DataFrame) -> pa.Table:
    """Ids, labels and numbers of facts, columns as SCHEMA."""
    columns: dict[str, Any] = {}
    for kind, names in (("head", dataset.entities), ("relation", dataset.relations), ("tail", dataset.entities)):
        columns[kind] = [names.ids[row] for row in facts[kind]]
        columns[f"{kind}_label"] = [names.labels[row] for row in facts[kind]]
    columns["asked"] = ["tail" if direction == TAIL else "head" for direction in facts["direction"]]
    columns["score"] = facts["score"].to_numpy().astype("float32")
    columns["probability"] = pa.array(facts["probability"], from_pandas=True)  # NaN becomes null
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _write_parquet(path: Path, tables: Iterable[pa.Table], dataset_name: str) -> None:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for table in tables:
            writer.write_table(table)


def _write_tsv(path: Path, tables: Iterable[pa.Table], dataset_name: str) -> None:
    """A header, then a fact a line; the first three columns are those of a dataset's train.txt."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(SCHEMA.names) + "\n")
        for table in tables:
            for *names, score, probability in zip(*table.to_pydict().values(), strict=True):
                # A label may hold tabs and line ends, which would break the line.
                cells = [_BLANKS.sub(" ", name) for name in names]
                shown = "" if probability is None else f"{probability:.6g}"
                file.write("\t".join([*cells, f"{score:.6g}", shown]) + "\n")


def _write_ntriples(path: Path, tables: Iterable[pa.Table], dataset_name: str) -> None:
    """RDF 1.1 N-Triples: a triple a line, its probability in a comment.

    Ids that are absolute IRIs stay as they are; others become urn:mmrns:<dataset>:<id>, percent-encoded.
    """
    prefix = f"urn:mmrns:{quote(dataset_name, safe='')}:"

    def iri(identifier: str) -> str:
        bare = identifier[1:-1] if identifier.startswith("<") and identifier.endswith(">") else identifier
        return f"<{bare}>" if _ABSOLUTE_IRI.fullmatch(bare) else f"<{prefix}{quote(identifier, safe='')}>"

    with path.open("w", encoding="utf-8", newline="\n") as file:
        for table in tables:
            columns = table.select(["head", "relation", "tail", "probability"]).to_pydict().values()
            for *names, probability in zip(*columns, strict=True):
                comment = "" if probability is None else f" # probability {probability:.6g}"
                file.write(f"{' '.join(map(iri, names))} .{comment}\n")


_WRITERS = {".parquet": _write_parquet, ".tsv": _write_tsv, ".nt": _write_ntriples}
