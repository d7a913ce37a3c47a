"""Work in progress of an extraction, kept beside its output so that a killed run goes on where it was.

Per modality: values and masks in append-only files, and a journal with one line for each finished span of
entities. A span counts only once its line is complete, and its numbers were on the disk before the line was
written; whatever a kill left after the last complete line is cut off on reopening.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mmrns.errors import UserError
from mmrns.files import write_text

PARTIAL_FOLDER = ".features.partial"


def open_partial(folder: Path, fingerprint: str) -> Path:
    """The folder for work in progress below `folder`: that of an earlier run with the same fingerprint, or empty."""
    place = folder / PARTIAL_FOLDER
    mark = place / "fingerprint"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != fingerprint:
        shutil.rmtree(place, ignore_errors=True)
        write_text(mark, fingerprint)
    return place


class PartialTokens:
    """Tokens of one modality, (E, tokens, width) fp16 and their mask, appended span by span in row order.

    Attributes:
        done: rows that are finished, from row 0 on.
        notes: what was noted with each finished span, in order.
    """

    def __init__(self, place: Path, name: str, tokens: int, width: int) -> None:
        self._files = {part: place / f"{name}.{part}" for part in ("values", "mask")}
        self._journal = place / f"{name}.journal"
        self._row = {"values": (tokens, width), "mask": (tokens,)}
        self._types = {"values": np.dtype(np.float16), "mask": np.dtype(np.bool_)}
        self.done = 0
        self.notes: list[dict[str, Any]] = []
        self._recover()

    def _bytes(self, part: str, rows: int) -> int:
        return rows * int(np.prod(self._row[part])) * self._types[part].itemsize

    def _recover(self) -> None:
        kept = b""
        for line in self._journal.read_bytes().splitlines(keepends=True) if self._journal.is_file() else []:
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None:
                break
            self.done, kept = entry["done"], kept + line
            self.notes.append(entry["note"])
        for part, path in self._files.items():
            path.touch()
            if path.stat().st_size < self._bytes(part, self.done):
                raise UserError(f"{path}: shorter than its journal says; delete {path.parent} and extract again")
            os.truncate(path, self._bytes(part, self.done))
        self._journal.write_bytes(kept)

    def append(self, values: np.ndarray, mask: np.ndarray, note: dict[str, Any]) -> None:
        """Add the next k rows, values (k, tokens, width) and mask (k, tokens), and a JSON note about them."""
        done = self.done + len(mask)
        line = json.dumps({"done": done, "note": note}) + "\n"
        try:
            for part, array in (("values", values), ("mask", mask)):
                _append(self._files[part], np.ascontiguousarray(array, dtype=self._types[part]).tobytes())
            _append(self._journal, line.encode())
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"{self._journal.parent}: cannot be written ({reason}); free some room and run the same command again"
            ) from error
        self.done = done
        self.notes.append(note)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Memory maps of the finished rows: values (done, tokens, width) fp16, mask (done, tokens) bool."""
        values, mask = (
            np.memmap(self._files[part], dtype=self._types[part], mode="r", shape=(self.done, *self._row[part]))
            for part in ("values", "mask")
        )
        return values, mask


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
