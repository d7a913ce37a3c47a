"""Pictures of entities as tokens: decoded by worker processes, each encoded once, averaged by entity."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmrns.errors import UserError
from mmrns.features import pooling
from mmrns.features.backbones import load_backbone
from mmrns.features.decoding import PictureError, decoded, read_picture
from mmrns.features.options import DEFAULT_BATCH, GRID_TOKENS, GRID_WIDTH, ExtractOptions
from mmrns.features.spans import Encoded, Span
from mmrns.graph.dataset import Dataset

__all__ = ["ImageEncoder", "PictureError", "SharedPictures", "read_picture"]

_LARGEST_HALF = float(np.finfo(np.float16).max)

FileTokens = dict[str, np.ndarray | str]
"""Tokens (n, C) float32 of a file, or the reason why there are none."""


class ImageEncoder:
    """Images of a dataset's entities as pooled tokens.

    Attributes:
        backbone: what encodes.
        files: of each entity, relative to `folder`.
        tokens, width: of what `encode` gives; a wider one than `final_width` is still to be reduced by PCA.
        final_width: width wanted in the end.
        source: manifest fields.
        total: pictures to encode.
        counts: pictures beyond the limit an entity.
        shared: pictures of entities in several spans, to be encoded ahead of the others and given back.
    """

    def __init__(self, dataset: Dataset, options: ExtractOptions, device: torch.device) -> None:
        self._dataset, self._options, self.folder = dataset, options, dataset.folder
        self.backbone = load_backbone(options, device)
        listed = [dataset.records.get(entity, {}).get("images") or [] for entity in dataset.entities.ids]
        self.files = [files[: options.images_per_entity] for files in listed]
        self.total = sum(map(len, self.files))
        self.counts = {"image_left_out": sum(map(len, listed)) - self.total}
        with torch.inference_mode():
            white = self.backbone.transform(Image.new("RGB", (256, 256), "white"))
            probe = self.backbone.features(torch.as_tensor(white)[None])
            self._pooling = self._choose_pooling(probe)
            tokens, self._present = self._pool(probe)
        self.tokens, self.width = int(tokens.shape[1]), int(tokens.shape[2])
        limit = options.image_dim or (GRID_WIDTH if self._pooling == "grid" else self.width)
        self.final_width = min(limit, self.width)
        raw = self.backbone.as_tokens(probe)
        self.source = {
            **self.backbone.source,
            "pooling": self._pooling,
            "reduction": options.image_reduction if self.final_width < self.width else "none",
            "images_per_entity": options.images_per_entity,
            "source_tokens": int(raw.shape[1]),
            "source_width": int(raw.shape[2]),
        }
        if options.image_reduction == "average":
            self.width = self.final_width
        self.shared = SharedPictures(self, self._in_several_spans())
        self._ready: FileTokens = {}

    def inputs(self) -> list[Any]:
        """What is read, for a fingerprint: entity, file name and size in bytes (null when it is missing)."""
        return [
            [entity, file, self._size(file)]
            for entity, files in zip(self._dataset.entities.ids, self.files, strict=True)
            for file in files
        ]

    def _size(self, file: str) -> int | None:
        try:
            return (self._dataset.folder / file).stat().st_size
        except (OSError, ValueError):
            return None

    def count(self, span: Span) -> int:
        """Pictures of the entities of a span."""
        return sum(len(files) for files in self.files[span.start : span.stop])

    def _in_several_spans(self) -> list[str]:
        first: dict[str, int] = {}
        several: dict[str, None] = {}
        for row, files in enumerate(self.files):
            for file in files:
                if first.setdefault(file, row // self._options.span) != row // self._options.span:
                    several[file] = None
        return list(several)

    def take(self, ready: FileTokens) -> None:
        """Tokens of pictures that need no encoding any more."""
        self._ready = ready

    def encode(self, spans: Sequence[Span]) -> Iterator[Encoded]:
        """Encode the entities of each span, in order; a picture that occurs in it more than once, once.

        Batches never cross spans, so a span gives the same numbers whoever encodes it, and when.
        """
        wanted = [
            list(dict.fromkeys(itertools.chain.from_iterable(self.files[span.start : span.stop]))) for span in spans
        ]
        lists = [[file for file in files if file not in self._ready] for files in wanted]
        for span, files, batches in zip(spans, wanted, self.encode_files(lists), strict=True):
            sums = _Sums(span, self.files[span.start : span.stop], self._dataset, self.tokens, self.width)
            for batch in itertools.chain([{file: self._ready[file] for file in files if file in self._ready}], batches):
                for file, found in batch.items():
                    sums.add(file, found)
            yield sums.finish(self._present.cpu().numpy())

    def encode_files(self, lists: Sequence[Sequence[str]]) -> Iterator[Iterator[FileTokens]]:
        """Of each list of files the tokens, batch by batch; use up each list's batches before the next list's."""
        size = self._options.batch_size or DEFAULT_BATCH[self.backbone.mean.device.type]
        cut = [[files[at : at + size] for at in range(0, len(files), size)] for files in lists]
        transform = self.backbone.transform
        on_gpu = self.backbone.mean.device.type == "cuda"
        arriving = decoded(
            self.folder, [batch for batches in cut for batch in batches], transform, self._options.decoders, on_gpu
        )
        for batches in cut:
            yield (self.encode_batch(*next(arriving)) for _ in batches)

    def encode_batch(self, files: list[str], pixels: Tensor | None, faults: dict[str, str]) -> FileTokens:
        """Tokens of a batch, as `decoded` gives it."""
        found: FileTokens = {**faults}
        if pixels is None:
            return found
        with torch.inference_mode():
            tokens, _ = self._pool(self.backbone.features(pixels))
            if tokens.shape[2] > self.width:
                tokens = pooling.average_channels(tokens, self.width)
        for file, values in zip(files, tokens.cpu().numpy(), strict=True):
            usable = bool(np.isfinite(values).all())
            found[file] = values if usable else "the encoder's output for it is not finite"
        return found

    def _choose_pooling(self, features: Tensor) -> str:
        if self._options.image_pooling != "auto":
            return self._options.image_pooling
        return "published" if features.ndim == 3 else "grid"

    def _pool(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled tokens (B, n, C) and which of the n are present (n,)."""
        wanted = self._options.image_tokens
        if self._pooling == "grid":
            try:
                tokens = pooling.grid(self.backbone.as_map(features), wanted or GRID_TOKENS)
            except ValueError as error:
                raise UserError(
                    f"--image-tokens {wanted}: {error}, which grid pooling needs; give 4, 9, 16, …"
                ) from error
            return pooling.fit_tokens(tokens, tokens.shape[1])
        tokens = self.backbone.as_tokens(features)
        if self._pooling == "published":
            if tokens.shape[1] < pooling.PUBLISHED_TOKEN_KERNEL or tokens.shape[2] < pooling.PUBLISHED_CHANNEL_KERNEL:
                shape = f"{tokens.shape[1]} x {tokens.shape[2]}"
                raise UserError(f"--image-pooling published: the encoder gives only {shape}; give grid or none")
            tokens = pooling.published(tokens)
        return pooling.fit_tokens(tokens, wanted or tokens.shape[1])


class SharedPictures:
    """Pictures that stand for entities far apart, encoded in spans of their own: like an encoder, a row a picture.

    Attributes:
        files: one a row.
    """

    def __init__(self, encoder: ImageEncoder, files: list[str]) -> None:
        self._encoder, self.files = encoder, files
        self.total, self.tokens, self.width = len(files), encoder.tokens, encoder.width
        self.source: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def inputs(self) -> list[Any]:
        """Nothing that the image encoder's own inputs do not hold."""
        return []

    def count(self, span: Span) -> int:
        """Pictures of a span."""
        return len(span)

    def encode(self, spans: Sequence[Span]) -> Iterator[Encoded]:
        """Encode the pictures of each span; values are fp32, and a note has the faults by file."""
        lists = [self.files[span.start : span.stop] for span in spans]
        for span, files, batches in zip(spans, lists, self._encoder.encode_files(lists), strict=True):
            found = {file: tokens for batch in batches for file, tokens in batch.items()}
            values = np.zeros((len(span), self.tokens, self.width), dtype=np.float32)
            faults = {}
            for at, file in enumerate(files):
                tokens = found[file]
                if isinstance(tokens, str):
                    faults[file] = tokens
                else:
                    values[at] = tokens
            yield Encoded(span, values, np.ones(values.shape[:2], dtype=np.bool_), {"faults": faults})

    def give_back(self, values: np.ndarray, notes: Sequence[dict[str, Any]]) -> None:
        """Let the encoder use what was encoded: values (F, n, C) of all pictures, and the notes of all spans."""
        faults = {file: reason for note in notes for file, reason in note["faults"].items()}
        self._encoder.take({file: faults.get(file, values[at]) for at, file in enumerate(self.files)})


class _Sums:
    """Sums over the pictures of each entity of one span, and what was wrong with the others."""

    def __init__(self, span: Span, files: list[list[str]], dataset: Dataset, tokens: int, width: int) -> None:
        self._span, self._files, self._dataset = span, files, dataset
        self._rows: dict[str, list[int]] = {}
        for row, of_entity in enumerate(files):
            for file in of_entity:
                self._rows.setdefault(file, []).append(row)
        self._values = np.zeros((len(span), tokens, width), dtype=np.float32)
        self._counts = np.zeros(len(span), dtype=np.int64)
        self._faults: dict[str, str] = {}

    def add(self, file: str, found: np.ndarray | str) -> None:
        """Tokens of a picture, or its fault, for every entity that has it."""
        if isinstance(found, str):
            self._faults[file] = found
            return
        for row in self._rows[file]:
            self._values[row] += found
            self._counts[row] += 1

    def finish(self, present: np.ndarray) -> Encoded:
        """Means over an entity's usable pictures, fp16; `present` (n,) says which tokens are not padding."""
        means = self._values / np.maximum(self._counts, 1)[:, None, None]
        mask = (self._counts > 0)[:, None] & present
        values = means.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        faults = [
            {"entity": self._dataset.entities.ids[row], "file": file, "reason": self._faults[file]}
            for row, files in zip(self._span, self._files, strict=True)
            for file in files
            if file in self._faults
        ]
        return Encoded(self._span, values, mask, {"faults": faults})
