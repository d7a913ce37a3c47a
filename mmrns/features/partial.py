"""Work in progress of an extraction, kept beside its output so that a killed run goes on where it was.

Per modality and process: values and masks in append-only files, and a journal with one line for each finished span of
rows. A span counts only once its line is complete, and its numbers were on the disk before the line was written;
whatever a kill left after the last complete line is cut off on reopening. Each process writes files of its own and
reads those of all, so that any number of processes goes on with what any other number has left.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from mmrns.errors import UserError, unwritable
from mmrns.features.spans import Encoded, Span
from mmrns.files import write_text

PARTIAL_FOLDER = ".features.partial"
_PARTS = ("values", "mask")


def partial_folder(folder: Path, fingerprint: str) -> Path:
    """The folder for work in progress below `folder`: that of an earlier run with the same fingerprint, or empty."""
    place = folder / PARTIAL_FOLDER
    mark = place / "fingerprint-of-spans"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != fingerprint:
        shutil.rmtree(place, ignore_errors=True)
        write_text(mark, fingerprint)
    return place


@dataclass(frozen=True)
class _Kept:
    """A finished span: which journal it stands in, and after how many rows of that process's files."""

    span: Span
    stem: str
    offset: int
    note: dict[str, Any]


class PartialTokens:
    """Tokens of one modality, (E, tokens, width) and their mask, appended span by span, in any order."""

    def __init__(
        self, place: Path, name: str, tokens: int, width: int, index: int = 0, dtype: DTypeLike = np.float16
    ) -> None:
        """Open what there is.

        Args:
            place: as `partial_folder` gives it.
            index: of the process; each writes its own files, which are mended here.
            dtype: of values.
        """
        self._place, self._name, self._stem = place, name, f"{name}.{index}"
        self._row = {"values": (tokens, width), "mask": (tokens,)}
        self._types = {"values": np.dtype(dtype), "mask": np.dtype(np.bool_)}
        self._recover()

    def _file(self, stem: str, part: str) -> Path:
        return self._place / f"{stem}.{part}"

    def _bytes(self, part: str, rows: int) -> int:
        return rows * int(np.prod(self._row[part])) * self._types[part].itemsize

    def _read(self, stem: str) -> Iterator[tuple[_Kept, bytes]]:
        """Finished spans of one journal, and their lines."""
        journal, rows = self._file(stem, "journal"), 0
        for line in journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []:
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None:
                return
            span = range(*entry["rows"])
            yield _Kept(span, stem, rows, entry["note"]), line
            rows += len(span)

    def _recover(self) -> None:
        """Cut off what a kill left in this process's files after the last finished span."""
        found = list(self._read(self._stem))
        rows = sum(len(kept.span) for kept, _ in found)
        for part in _PARTS:
            path = self._file(self._stem, part)
            path.touch()
            if path.stat().st_size < self._bytes(part, rows):
                raise UserError(f"{path}: shorter than its journal says; delete {path.parent} and extract again")
            os.truncate(path, self._bytes(part, rows))
        self._file(self._stem, "journal").write_bytes(b"".join(line for _, line in found))

    def _finished(self) -> list[_Kept]:
        """What all processes have finished, in the order of rows."""
        journals = self._place.glob(f"{self._name}.*.journal")
        found = [kept for path in journals for kept, _ in self._read(path.name.removesuffix(".journal"))]
        return sorted(found, key=lambda kept: kept.span.start)

    def finished(self) -> set[Span]:
        """Spans that are finished, whichever process did them."""
        return {kept.span for kept in self._finished()}

    def notes(self) -> list[dict[str, Any]]:
        """What was noted with each finished span, in the order of rows."""
        return [kept.note for kept in self._finished()]

    def append(self, encoded: Encoded) -> None:
        """Add the rows of a span, values (k, tokens, width) and mask (k, tokens), and its note."""
        span = encoded.span
        line = json.dumps({"rows": [span.start, span.stop], "note": encoded.note}) + "\n"
        try:
            for part, array in zip(_PARTS, (encoded.values, encoded.mask), strict=True):
                content = np.ascontiguousarray(array, dtype=self._types[part]).tobytes()
                _append(self._file(self._stem, part), content)
            _append(self._file(self._stem, "journal"), line.encode())
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> UserError:
        return unwritable(self._place, error, "free some room and run the same command again")

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Memory maps of all finished rows in their order: values (E, tokens, width), mask (E, tokens) bool.

        What one process wrote in order is mapped as it is; else it is first put together in one file.
        """
        finished = self._finished()
        rows = sum(len(kept.span) for kept in finished)
        stems = {kept.stem for kept in finished}
        in_order = all(kept.offset == kept.span.start for kept in finished)
        stem = stems.pop() if len(stems) == 1 and in_order else self._merge(finished)
        values, mask = (self._map(stem, part, rows) for part in _PARTS)
        return values, mask

    def _map(self, stem: str, part: str, rows: int) -> np.ndarray:
        shape = (rows, *self._row[part])
        return np.memmap(self._file(stem, part), dtype=self._types[part], mode="r", shape=shape)

    def _merge(self, finished: list[_Kept]) -> str:
        stem = f"{self._stem}-merged"  # of this process: others may do the same at the same time
        try:
            for part in _PARTS:
                with self._file(stem, part).open("wb") as file:
                    for kept in finished:
                        with self._file(kept.stem, part).open("rb") as source:
                            source.seek(self._bytes(part, kept.offset))
                            file.write(source.read(self._bytes(part, len(kept.span))))
        except OSError as error:
            raise self._unwritten(error) from error
        return stem


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
