"""Files of proposed facts: Parquet, TSV and N-Triples, written block by block, resumable, never half-written."""

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.lib import ArrowException

from mmrns.errors import UserError
from mmrns.evaluation.candidates import Candidates
from mmrns.files import atomic_path, read_json, write_json
from mmrns.graph import Dataset
from mmrns.graph.answers import TAIL
from mmrns.inference.calibration import distinct
from mmrns.inference.completion import Completion, Facts

FORMATS = {".parquet": "Parquet", ".tsv": "TSV", ".nt": "N-Triples"}
COLUMNS = ("head", "relation", "tail", "head_label", "relation_label", "tail_label", "asked", "score", "probability")

_ROWS_AT_ONCE = 50_000
_NUMBERS = ("head", "relation", "tail", "direction", "score", "share", "known", "other_known")
_BLANKS = re.compile(r"[\t\r\n]+")
_ABSOLUTE_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|^`\\]+")


def check_output(output: Path, top: int) -> None:
    """Raise UserError for an unknown suffix, a folder, or a negative `top`: before the work, not after it."""
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output {output}: end its name in {', '.join(FORMATS)} ({', '.join(FORMATS.values())})")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; give a file")
    if top < 0:
        raise UserError(f"--top {top}: ask for at least 1 fact, or 0 for -k a question")


def write_facts(completion: Completion, output: Path, top: int) -> dict[str, int]:
    """Write the facts of a completion to `output`, by its suffix one of FORMATS.

    Args:
        top: the best so many facts, each once, best first; 0: all, question by question, where a fact that both of its
            questions propose has two rows.

    Returns:
        "questions" asked, "facts" written, and "resumed": questions whose answers an interrupted call had kept.

    Raises:
        UserError: an unknown suffix, top below 1, or a file that cannot be written.
    """
    check_output(output, top)
    parts = _Parts(output, completion)
    resumed = parts.fill()
    if top == 0:
        rows: Iterator[Facts] = (parts.read(number) for number in range(len(completion.blocks)))
    else:
        rows = _pieces(_best(parts, completion, top))
    with atomic_path(output) as temporary:
        written = _write(temporary, output.suffix.lower(), completion.dataset, rows)
    parts.remove()
    return {"questions": completion.num_questions, "facts": written, "resumed": resumed}


class _Parts:
    """The folder of finished blocks beside the output."""

    def __init__(self, output: Path, completion: Completion) -> None:
        self._folder = output.with_name(f".{output.name}.parts")
        self._completion = completion
        note = self._folder / "made_from.json"
        fingerprint = completion.fingerprint()
        try:
            same = note.is_file() and read_json(note, "delete it")["fingerprint"] == fingerprint
        except (UserError, KeyError, TypeError):
            same = False
        if not same:
            self.remove()
            write_json(note, {"fingerprint": fingerprint})

    def fill(self) -> int:
        """Answer what is not answered yet; returns the questions that were."""
        blocks = self._completion.blocks
        done = [number for number in range(len(blocks)) if self._path(number).is_file()]
        resumed = sum(len(blocks[number].anchors) for number in done)
        with self._completion.bar(resumed) as bar:
            for number in sorted(set(range(len(blocks))) - set(done)):
                self._keep(number, self._completion.facts(blocks[number]))
                bar.update(len(blocks[number].anchors))
        return resumed

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"

    def _keep(self, number: int, facts: Facts) -> None:
        columns = {name: getattr(facts.candidates, name) for name in _NUMBERS}
        with atomic_path(self._path(number)) as temporary:
            pq.write_table(pa.table(columns | {"probability": facts.probability}), temporary)

    def read(self, number: int) -> Facts:
        """The facts of a finished block."""
        try:
            table = pq.read_table(self._path(number))
        except (ArrowException, OSError) as error:
            raise UserError(f"{self._path(number)}: cannot be read ({error}); delete it and run again") from error
        columns = {name: table[name].to_numpy() for name in (*_NUMBERS, "probability")}
        probability = columns.pop("probability")
        return Facts(Candidates(**columns), probability)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _best(parts: _Parts, completion: Completion, top: int) -> Facts:
    """The best facts of all blocks. A fact has at most two rows, so the best 2 top rows hold the best top facts."""
    kept = Facts(Candidates.joined([]), np.zeros(0))
    waiting: list[Facts] = []
    for number in range(len(completion.blocks)):
        waiting.append(parts.read(number))
        if sum(len(facts.probability) for facts in waiting) > max(2 * top, _ROWS_AT_ONCE):
            kept, waiting = _first([kept, *waiting], completion, 2 * top), []
    kept = _first([kept, *waiting], completion, 2 * top)
    rows = distinct(kept.candidates, completion.order(kept.candidates))[:top]
    return Facts(kept.candidates[rows], kept.probability[rows])


def _first(parts: list[Facts], completion: Completion, number: int) -> Facts:
    candidates = Candidates.joined([facts.candidates for facts in parts])
    probability = np.concatenate([facts.probability for facts in parts])
    # Ties are broken by the fact, so that blocks cannot matter.
    names = candidates.direction, candidates.tail, candidates.relation, candidates.head
    rows = np.lexsort((*names, -completion.order(candidates)))[:number]
    return Facts(candidates[rows], probability[rows])


def _pieces(facts: Facts) -> Iterator[Facts]:
    for start in range(0, len(facts.probability), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(facts.probability)))
        yield Facts(facts.candidates[rows], facts.probability[rows])


def _table(dataset: Dataset, facts: Facts) -> pa.Table:
    """Ids, labels and numbers of facts, columns as COLUMNS."""
    found = facts.candidates
    entities, relations = dataset.entities, dataset.relations

    def named(names: list[str], rows: np.ndarray) -> pa.Array:
        return pa.array([names[row] for row in rows], type=pa.string())

    return pa.table(
        {
            "head": named(entities.ids, found.head),
            "relation": named(relations.ids, found.relation),
            "tail": named(entities.ids, found.tail),
            "head_label": named(entities.labels, found.head),
            "relation_label": named(relations.labels, found.relation),
            "tail_label": named(entities.labels, found.tail),
            "asked": pa.array(["tail" if d == TAIL else "head" for d in found.direction], type=pa.string()),
            "score": pa.array(found.score, type=pa.float32()),
            "probability": pa.array(facts.probability, type=pa.float64(), from_pandas=True),  # NaN becomes null
        }
    )


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


def _write(path: Path, suffix: str, dataset: Dataset, rows: Iterator[Facts]) -> int:
    """Write tables as they come; returns the number of rows."""
    writers: dict[str, Callable[[Path, Dataset], _Writer]] = {".parquet": _Parquet, ".tsv": _Tsv, ".nt": _NTriples}
    writer = writers[suffix](path, dataset)
    written = 0
    try:
        empty = Facts(Candidates.joined([]), np.zeros(0))
        for facts in itertools.chain([empty], rows):
            writer.write(_table(dataset, facts))
            written += len(facts.probability)
    finally:
        writer.close()
    return written


class _Parquet:
    def __init__(self, path: Path, dataset: Dataset) -> None:
        empty = _table(dataset, Facts(Candidates.joined([]), np.zeros(0)))
        self._writer = pq.ParquetWriter(path, empty.schema)

    def write(self, table: pa.Table) -> None:
        if table.num_rows:
            self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _Tsv:
    """A header, then a fact a line; the first three columns are those of a dataset's train.txt."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._file.write("\t".join(COLUMNS) + "\n")

    def write(self, table: pa.Table) -> None:
        for *names, score, probability in zip(*(table[name].to_pylist() for name in COLUMNS), strict=True):
            # A label may hold tabs and line ends, which would break the line.
            cells = [" ".join(_BLANKS.split(name)) for name in names]
            known = "" if probability is None else f"{probability:.6g}"
            self._file.write("\t".join([*cells, f"{score:.6g}", known]) + "\n")

    def close(self) -> None:
        self._file.close()


class _NTriples:
    """RDF 1.1 N-Triples: a triple a line, its probability in a comment.

    Ids that are absolute IRIs stay as they are; others become urn:mmrns:<dataset>:<id>, percent-encoded.
    """

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._prefix = f"urn:mmrns:{quote(dataset.name, safe='')}:"

    def write(self, table: pa.Table) -> None:
        names: list[list[Any]] = [table[name].to_pylist() for name in ("head", "relation", "tail", "probability")]
        for head, relation, tail, probability in zip(*names, strict=True):
            comment = "" if probability is None else f" # probability {probability:.6g}"
            self._file.write(f"{self._iri(head)} {self._iri(relation)} {self._iri(tail)} .{comment}\n")

    def _iri(self, identifier: str) -> str:
        bare = identifier[1:-1] if identifier.startswith("<") and identifier.endswith(">") else identifier
        if "://" in bare and _ABSOLUTE_IRI.fullmatch(bare):
            return f"<{bare}>"
        return f"<{self._prefix}{quote(identifier, safe='')}>"

    def close(self) -> None:
        self._file.close()
