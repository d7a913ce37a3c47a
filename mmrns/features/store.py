"""Token features on disk: features.safetensors (numbers) and features.json (what they are)."""

import copy
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from mmrns.errors import UserError
from mmrns.features.digests import file_sha256
from mmrns.features.mapped import MODALITIES, Tokens, advise, map_tokens, request_rows
from mmrns.features.streaming import Block, stream_features
from mmrns.files import atomic_path, read_json, write_json
from mmrns.graph.dataset import Dataset
from mmrns.memory import mapped_bytes

FORMAT = "mmrns-features-1"
FEATURES_FILE, MANIFEST_FILE = "features.safetensors", "features.json"
_LARGEST_HALF = float(np.finfo(np.float16).max)
_ROWS_AT_ONCE = 4096  # of a memory map that is checked piece by piece
# Linux maps the 64 kB around a page that is read, where they are cached, or 2 MiB where its cache holds pages of that
# size. Rows are read until so much may be, or is, mapped.
_AROUND, _MOST_MAPPED = 1 << 16, 1 << 28

Arrays = Mapping[str, tuple[np.ndarray | Tensor, np.ndarray | Tensor]]


class FeatureStore:
    """Features of every entity of one dataset; row i belongs to `dataset.entities.ids[i]`.

    They are memory-mapped: a graph need not fit its features in memory.

    Attributes:
        path: the features.safetensors that is read.
        manifest: what features.json says (encoders, pooling, counts, missing entities, faults).
        modalities: those present, in the order of MODALITIES.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], tokens: dict[str, Tokens], again: str) -> None:
        """Use `open` or `write`. `again` is the mend that messages end in."""
        self.path = path
        self.manifest = manifest
        self.modalities: tuple[str, ...] = tuple(name for name in MODALITIES if name in tokens)
        self._tokens = tokens
        self._again = again
        self._mapped, self._elsewhere = 0, mapped_bytes()

    @property
    def sha256(self) -> str:
        """Of the numbers, as features.json has it; "" of features that are in memory alone."""
        return str(self.manifest.get("sha256", ""))

    @staticmethod
    def lies_in(folder: Path) -> bool:
        """Whether a folder holds features, or at least one of their two files, over which `open` complains."""
        return any((folder / name).exists() for name in (FEATURES_FILE, MANIFEST_FILE))

    @classmethod
    def open(cls, dataset: Dataset, folder: Path | None = None) -> "FeatureStore":
        """Map the features of `dataset` that lie in `folder` (default: the dataset's own folder).

        Costs about the same for any size: headers and shapes are checked, the numbers are not read (see `verify`).

        Raises:
            UserError: files missing or corrupt, made for other entities, or with unknown dtypes or shapes.
        """
        folder = dataset.folder if folder is None else Path(folder)
        path, manifest_path = folder / FEATURES_FILE, folder / MANIFEST_FILE
        command = f"mmrns extract {dataset.folder}" + ("" if folder == dataset.folder else f" --output {folder}")
        again = f"run: {command} --overwrite"
        if not path.is_file():
            raise UserError(f"{path}: no such file; run: {command}")
        manifest = read_json(manifest_path, again)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise UserError(f'{manifest_path}: "format" is not {FORMAT!r}; {again}')
        if manifest.get("entities") != len(dataset.entities):
            raise UserError(
                f"{manifest_path}: made for {manifest.get('entities')} entities, the dataset has "
                f"{len(dataset.entities)}; {again}"
            )
        if manifest.get("vocabulary_sha256") != dataset.entities.sha256:
            raise UserError(f"{manifest_path}: made for another entity vocabulary (its SHA-256 differs); {again}")
        tokens = map_tokens(path, len(dataset.entities), dataset.entities.sha256, again)
        described = manifest.get("modalities")
        if not isinstance(described, dict) or set(described) != set(tokens):
            raise UserError(f"{manifest_path}: its modalities are not those of {path.name}; {again}")
        for name, found in tokens.items():
            entry = described[name]
            said = (entry.get("tokens"), entry.get("width")) if isinstance(entry, dict) else None
            if said != found.values.shape[1:]:
                raise UserError(f"{manifest_path}: {name} tokens and width are not those of {path.name}; {again}")
        return cls(path, manifest, tokens, again)

    @classmethod
    def write(
        cls, dataset: Dataset, arrays: Arrays, folder: Path | None = None, manifest: Mapping[str, Any] | None = None
    ) -> "FeatureStore":
        """Write both files atomically and open the result.

        Args:
            arrays: per modality (values (E, n, D) float, mask (E, n) bool). Values are stored as fp16; rows of absent
                tokens are stored as zeros. Memory maps are never read into memory whole, but as fp16 if they are of
                another type; those of fp16 must have zero rows already.
            folder: default is the dataset's own.
            manifest: further fields of features.json; "modalities" may hold further fields per modality.

        Raises:
            ValueError: a shape that does not fit the dataset, or a value that is not finite in fp16.
            UserError: the disk is full or the folder cannot be written.
        """
        folder = dataset.folder if folder is None else Path(folder)
        fields = dict(manifest or {})
        if not arrays or set(arrays) - set(MODALITIES):
            raise ValueError(f"arrays must hold some of {MODALITIES}, not {sorted(arrays)}")
        tensors: dict[str, np.ndarray] = {}
        masks, shapes = {}, {}
        for name in (name for name in MODALITIES if name in arrays):
            values, masks[name] = _storable(name, *arrays[name], entities=len(dataset.entities))
            tensors[name], tensors[f"{name}_mask"] = values, masks[name]
            shapes[name] = values.shape[1:]
        with atomic_path(folder / FEATURES_FILE) as temporary:
            save_file(tensors, temporary, metadata=_header(dataset))
            complete = _manifest(dataset, shapes, masks, fields) | {"sha256": file_sha256(temporary)}
            # A kill between the two renames must not leave a manifest that describes other numbers.
            (folder / MANIFEST_FILE).unlink(missing_ok=True)
        write_json(folder / MANIFEST_FILE, complete)
        return cls.open(dataset, folder)

    @classmethod
    def write_blocks(
        cls,
        dataset: Dataset,
        shapes: Mapping[str, tuple[int, int]],
        block: Block,
        folder: Path | None = None,
        manifest: Mapping[str, Any] | None = None,
    ) -> "FeatureStore":
        """`write` of features that are made as they are written: only some entities' are ever in memory.

        Args:
            shapes: modality -> (tokens, width).
            block: makes the numbers of some entities of one modality.
            folder, manifest: as for `write`.
        """
        folder = dataset.folder if folder is None else Path(folder)
        with atomic_path(folder / FEATURES_FILE) as temporary:
            masks, digest = stream_features(temporary, len(dataset.entities), shapes, block, _header(dataset))
            complete = _manifest(dataset, shapes, masks, dict(manifest or {})) | {"sha256": digest}
            (folder / MANIFEST_FILE).unlink(missing_ok=True)
        write_json(folder / MANIFEST_FILE, complete)
        return cls.open(dataset, folder)

    def shape(self, modality: str) -> tuple[int, int]:
        """(tokens, width) of every entity in this modality."""
        _, tokens, width = self._tokens[modality].values.shape
        return int(tokens), int(width)

    def arrays(self, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Values (E, tokens, width) and mask (E, tokens) of every entity, on the CPU; maps where they are mapped."""
        return self._tokens[modality].arrays()

    def presence(self, modality: str) -> Tensor:
        """(E,) bool, on the CPU: the entity has at least one token; none has one of a modality that is not there."""
        found = self._presence.get(modality)
        return torch.zeros_like(next(iter(self._presence.values()))) if found is None else found

    @cached_property
    def _presence(self) -> dict[str, Tensor]:
        masks = {name: found.mask_array() for name, found in self._tokens.items()}
        return {name: torch.from_numpy(np.asarray(mask.any(axis=1))) for name, mask in masks.items()}

    def gather(self, modality: str, rows: Tensor, widen: bool = True) -> tuple[Tensor, Tensor]:
        """Tokens of the entities `rows` (B,) int64, on the device of `rows`.

        Returns values (B, tokens, width) in float32, or as they are stored unless `widen`, and mask (B, tokens) bool.
        Only these rows are read.
        """
        found = self._tokens[modality]
        if isinstance(found.values, Tensor) and isinstance(found.mask, Tensor):
            at = rows.to(found.values.device)
            values, mask = found.values.index_select(0, at), found.mask.index_select(0, at)
        else:
            wanted = rows.cpu().numpy()
            stored, masks = found.arrays()
            request_rows(stored, wanted)
            # Indexing copies the rows out of the map; they travel to the device as fp16 and widen there.
            values = torch.from_numpy(np.asarray(stored[wanted]))
            mask = torch.from_numpy(np.asarray(masks[wanted]))
            self._bound_mapped(len(wanted) * max(_AROUND, found.values[:1].nbytes))
        values = values.to(rows.device)
        return values.float() if widen else values, mask.to(rows.device).bool()

    def _bound_mapped(self, more: int) -> None:
        """Let mapped pages go before they fill the memory of the process: of a large file, every page is read once."""
        self._mapped += more
        if max(self._mapped, mapped_bytes() - self._elsewhere) > _MOST_MAPPED:
            for found in self._tokens.values():
                for stored in (found.values, found.mask):
                    advise(stored, "DONTNEED")
            self._mapped, self._elsewhere = 0, mapped_bytes()

    def mean_tokens(self, modality: str) -> Tensor:
        """Mean of each entity's present tokens: (E, width) float32 on the CPU, zero where it has none."""
        total = len(self.presence(modality))
        blocks = []
        advise(self._tokens[modality].values, "NORMAL")
        for start in range(0, total, _ROWS_AT_ONCE):
            values, mask = self.gather(modality, torch.arange(start, min(start + _ROWS_AT_ONCE, total)))
            blocks.append((values * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1))
        advise(self._tokens[modality].values, "RANDOM")
        return torch.cat(blocks)

    def resident(self, device: torch.device, limit_mb: int) -> "FeatureStore":
        """A store that keeps its tensors on `device` when all of them take at most `limit_mb` megabytes (10^6 bytes).

        Above the limit the store itself is returned, still mapped.
        """
        if sum(found.megabytes for found in self._tokens.values()) > limit_mb:
            return self
        kept = copy.copy(self)
        kept._tokens = {}
        for name, found in self._tokens.items():
            values, mask = found.arrays()
            on_device = torch.tensor(np.asarray(values), device=device)
            kept._tokens[name] = Tokens(on_device, torch.tensor(np.asarray(mask), device=device, dtype=torch.bool))
        return kept

    def verify(self) -> None:
        """Read the whole file once: UserError when its SHA-256 is not the manifest's, so bits changed since."""
        if file_sha256(self.path) != self.manifest.get("sha256"):
            raise UserError(f"{self.path}: its SHA-256 is not the one in {MANIFEST_FILE}; {self._again}")


def _header(dataset: Dataset) -> dict[str, str]:
    # One entry only: the library writes several in an order that differs from run to run.
    return {"vocabulary_sha256": dataset.entities.sha256}


def _manifest(
    dataset: Dataset,
    shapes: Mapping[str, tuple[int, ...]],
    masks: Mapping[str, np.ndarray],
    fields: dict[str, Any],
) -> dict[str, Any]:
    """What features.json says, but for the file's SHA-256."""
    described, counts, missing = {}, {}, {}
    for name, (tokens, width) in shapes.items():
        described[name] = {**fields.get("modalities", {}).get(name, {}), "tokens": int(tokens), "width": int(width)}
        present = masks[name].any(axis=1)
        counts[name] = int(present.sum())
        missing[name] = [dataset.entities.ids[row] for row in np.flatnonzero(~present)]
    return {
        "format": FORMAT,
        **_header(dataset),
        "entities": len(dataset.entities),
        **fields,
        "modalities": described,
        "counts": {**counts, **fields.get("counts", {})},
        "missing": missing,
        "faults": fields.get("faults", []),
    }


def _storable(
    name: str, values: np.ndarray | Tensor, mask: np.ndarray | Tensor, entities: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values as contiguous fp16 with zeros where the mask is off, and the mask as bool."""
    values = values.numpy(force=True) if isinstance(values, Tensor) else values
    mask = (mask.numpy(force=True) if isinstance(mask, Tensor) else mask).astype(np.bool_)
    if values.ndim != 3 or mask.shape != values.shape[:2] or len(values) != entities or 0 in values.shape:
        raise ValueError(
            f"{name}: values {values.shape} and mask {mask.shape} must be ({entities}, n, D) and ({entities}, n)"
        )
    if not isinstance(values, np.memmap):
        return _halved(name, values, mask), mask
    if values.dtype != np.float16:
        halved = np.empty(values.shape, dtype=np.float16)
        for part in _blocks(len(values)):
            halved[part] = _halved(name, values[part], mask[part])
        return halved, mask
    for part in _blocks(len(values)):
        if values[part][~mask[part]].any() or not np.isfinite(values[part]).all():
            raise ValueError(f"{name}: a memory map of fp16 must be finite, with zeros for absent tokens")
    return values, mask


def _halved(name: str, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    values = np.where(mask[:, :, None], values, 0)
    if not np.isfinite(values).all() or np.abs(values).max() > _LARGEST_HALF:
        raise ValueError(f"{name}: holds values that are not finite in fp16")
    return np.ascontiguousarray(values, dtype=np.float16)


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _ROWS_AT_ONCE):
        yield slice(start, start + _ROWS_AT_ONCE)
