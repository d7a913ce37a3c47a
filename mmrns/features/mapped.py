"""Memory maps of the tensors in a features.safetensors, checked before use.

The safetensors library slices lazily but takes no list of rows. So it is used for what it is good at (it proves
that the header is sound and that the offsets fill the file) and rows are read through numpy.memmap, which touches
only the pages they lie on.
"""

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmrns.errors import UserError

MODALITIES = ("image", "text")
_VALUE_TYPES = {"F16": np.float16, "F32": np.float32}
_MASK_TYPES = {"BOOL": np.bool_, "U8": np.uint8}


def advise(array: np.ndarray | Tensor, advice: str) -> None:
    """Tell the system how a memory map will be read ("RANDOM", "NORMAL"), or that it may let its pages go ("DONTNEED").

    Pages that were let go come back from the system's cache, or the disk, when they are read again. Does nothing for
    an array in memory, or where the system takes no such advice.
    """
    opened = getattr(array, "_mmap", None)
    wanted = getattr(mmap, f"MADV_{advice}", None)
    if opened is not None and wanted is not None:
        opened.madvise(wanted)


def request_rows(array: np.ndarray, rows: np.ndarray) -> None:
    """Have the system fetch rows (N,) of a memory map, all of them at once; reading them then hardly waits.

    A disk serves many requests side by side, but page faults come one after another. Does nothing for an array in
    memory, or where the system takes no such advice.
    """
    opened = getattr(array, "_mmap", None)
    advice = getattr(mmap, "MADV_WILLNEED", None)
    if opened is None or advice is None or not len(rows):
        return
    # The map begins at a multiple of the granularity at or before the array's place in the file.
    begin = array.offset % mmap.ALLOCATIONGRANULARITY  # type: ignore[attr-defined]
    size = array[:1].nbytes
    first = begin + np.unique(rows) * size
    page = first // mmap.PAGESIZE * mmap.PAGESIZE
    for start, length in zip(page.tolist(), (first + size - page).tolist(), strict=True):  # the system takes one range
        opened.madvise(advice, start, length)


@dataclass(frozen=True)
class Tokens:
    """One modality: values (E, tokens, width) and mask (E, tokens); memory maps, or tensors once resident."""

    values: np.ndarray | Tensor
    mask: np.ndarray | Tensor

    @property
    def megabytes(self) -> float:
        """Size of the stored numbers, in 10^6 bytes."""
        return (self.values.nbytes + self.mask.nbytes) / 1e6

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and mask as arrays on the CPU (maps stay maps)."""
        return _array(self.values), self.mask_array()

    def mask_array(self) -> np.ndarray:
        """The mask alone."""
        return _array(self.mask)


def _array(stored: np.ndarray | Tensor) -> np.ndarray:
    return stored.numpy(force=True) if isinstance(stored, Tensor) else stored


def map_tokens(path: Path, entities: int, vocabulary_sha256: str, again: str) -> dict[str, Tokens]:
    """Every modality of a features.safetensors.

    Raises UserError that names the file and ends in `again` (the mend) when the file is corrupt, was made for
    another vocabulary, or holds names, dtypes or shapes that are not those of features of `entities` entities.
    """
    try:
        with safe_open(path, framework="numpy") as checked:
            metadata = checked.metadata() or {}
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a sound safetensors file ({error}); {again}") from error
    if metadata.get("vocabulary_sha256", vocabulary_sha256) != vocabulary_sha256:
        raise UserError(f"{path}: made for another entity vocabulary (its SHA-256 differs); {again}")

    def mapped(key: str, types: Mapping[str, Any], shape: Sequence[int | None]) -> np.ndarray:
        entry = entries.get(key)
        if entry is None:
            raise UserError(f"{path}: has no tensor {key!r}; {again}")
        found = entry["shape"]
        fits = len(found) == len(shape) and all(want in (None, size) for want, size in zip(shape, found, strict=True))
        if entry["dtype"] not in types or not fits or 0 in found:
            wanted = f"{' or '.join(types)} ({', '.join('*' if size is None else str(size) for size in shape)})"
            raise UserError(f"{path}: {key} is {entry['dtype']} {tuple(found)}, not {wanted}; {again}")
        offset = 8 + length + entry["data_offsets"][0]
        return np.memmap(path, dtype=types[entry["dtype"]], mode="r", offset=offset, shape=tuple(found))

    tokens = {}
    for name in (name for name in MODALITIES if name in entries):
        values = mapped(name, _VALUE_TYPES, (entities, None, None))
        advise(values, "RANDOM")  # a row is a few kilobytes: reading ahead of it would read mostly what nobody wants
        tokens[name] = Tokens(values, mapped(f"{name}_mask", _MASK_TYPES, (entities, values.shape[1])))
    if not tokens:
        raise UserError(f"{path}: holds neither {' nor '.join(MODALITIES)}; {again}")
    return tokens
