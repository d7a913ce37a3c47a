"""Pictures of entities, decoded in threads and encoded in batches."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mmrns.errors import UserError
from mmrns.features import pooling
from mmrns.features.backbones import load_backbone
from mmrns.features.options import DEFAULT_BATCH, GRID_TOKENS, GRID_WIDTH, ExtractOptions
from mmrns.features.spans import Encoded, Span
from mmrns.graph.dataset import Dataset

_LARGEST_HALF = float(np.finfo(np.float16).max)


class PictureError(Exception):
    """A picture that cannot be used; the message is its reason in the manifest."""


@dataclass(frozen=True)
class _Picture:
    row: int
    file: str


def read_picture(folder: Path, file: str) -> Image.Image:
    """The picture `file` (relative to `folder`) upright in RGB; see-through parts become white.

    Raises PictureError: missing, corrupt, or outside of the folder (symbolic links are followed first).
    """
    root = folder.resolve()
    try:
        path = (root / file).resolve()
        inside, there = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError) as error:
        raise PictureError(f"no usable file name ({error})") from error
    if not inside:
        raise PictureError("lies outside of the dataset folder")
    if not there:
        raise PictureError("no such file")
    try:
        with Image.open(path) as opened:
            return _as_rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        raise PictureError("not a picture in a known format") from None
    except Exception as error:  # Pillow's decoders raise a dozen kinds for damaged files
        raise PictureError(
            f"cannot be decoded ({' '.join(str(error).split())[:120] or type(error).__name__})"
        ) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, of which Pillow's own conversion would keep the low 8
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return image.convert("RGB")


class ImageEncoder:
    """Images of a dataset's entities as pooled tokens.

    Attributes:
        tokens, width: of what `encode` gives; a wider one than `final_width` is still to be reduced by PCA.
        final_width: width wanted in the end.
        source: manifest fields.
        total: pictures to encode.
    """

    def __init__(self, dataset: Dataset, options: ExtractOptions, device: torch.device) -> None:
        self._dataset, self._options = dataset, options
        self._backbone = load_backbone(options, device)
        self._pictures = [
            [_Picture(row, file) for file in (dataset.records.get(entity, {}).get("images") or [])]
            for row, entity in enumerate(dataset.entities.ids)
        ]
        self._pictures = [pictures[: options.images_per_entity] for pictures in self._pictures]
        self.total = sum(map(len, self._pictures))
        with torch.inference_mode():
            probe = self._backbone.features([self._backbone.transform(Image.new("RGB", (256, 256), "white"))])
            self._pooling = self._choose_pooling(probe)
            tokens, self._present = self._pool(probe)
        self.tokens, self.width = int(tokens.shape[1]), int(tokens.shape[2])
        limit = options.image_dim or (GRID_WIDTH if self._pooling == "grid" else self.width)
        self.final_width = min(limit, self.width)
        raw = self._backbone.as_tokens(probe)
        self.source = {
            **self._backbone.source,
            "pooling": self._pooling,
            "reduction": options.image_reduction if self.final_width < self.width else "none",
            "images_per_entity": options.images_per_entity,
            "source_tokens": int(raw.shape[1]),
            "source_width": int(raw.shape[2]),
        }
        if options.image_reduction == "average":
            self.width = self.final_width

    def inputs(self) -> list[Any]:
        """What is read, for a fingerprint: entity, file name and size in bytes (null when it is missing)."""
        return [
            [self._dataset.entities.ids[picture.row], picture.file, self._size(picture.file)]
            for picture in itertools.chain.from_iterable(self._pictures)
        ]

    def _size(self, file: str) -> int | None:
        try:
            return (self._dataset.folder / file).stat().st_size
        except (OSError, ValueError):
            return None

    def count(self, span: Span) -> int:
        """Pictures of the entities of a span."""
        return sum(len(pictures) for pictures in self._pictures[span.start : span.stop])

    def encode(self, spans: Sequence[Span]) -> Iterator[Encoded]:
        """Encode the entities of each span, in order.

        Batches never cross spans, so a resumed run repeats them exactly.
        """
        size = self._options.batch_size or DEFAULT_BATCH[self._backbone.mean.device.type]
        plan: list[tuple[int, list[_Picture]]] = []
        for number, span in enumerate(spans):
            pictures = list(itertools.chain.from_iterable(self._pictures[span.start : span.stop]))
            plan += [(number, pictures[at : at + size]) for at in range(0, max(1, len(pictures)), size)]
        with ThreadPoolExecutor(self._options.decoders) as threads:
            waiting = [threads.submit(self._decode, picture) for picture in plan[0][1]] if plan else []
            current = _Sums(spans[0], self.tokens, self.width) if plan else None
            for index, (number, pictures) in enumerate(plan):
                decoded, following = waiting, plan[index + 1] if index + 1 < len(plan) else None
                # The next batch is read and resized while the encoder works on this one.
                waiting = [threads.submit(self._decode, picture) for picture in following[1]] if following else []
                assert current is not None
                self._encode_batch(pictures, decoded, current)
                if following is None or following[0] != number:
                    yield current.finish(self._present.cpu().numpy())
                    current = _Sums(spans[number + 1], self.tokens, self.width) if following else None

    def _decode(self, picture: _Picture) -> np.ndarray:
        return self._backbone.transform(read_picture(self._dataset.folder, picture.file))

    def _encode_batch(self, pictures: list[_Picture], decoded: list[Future[np.ndarray]], sums: "_Sums") -> None:
        good: list[tuple[_Picture, np.ndarray]] = []
        for picture, future in zip(pictures, decoded, strict=True):
            try:
                good.append((picture, future.result()))
            except PictureError as fault:
                sums.faults.append(self._fault(picture, str(fault)))
        if not good:
            return
        with torch.inference_mode():
            features = self._backbone.features([pixels for _, pixels in good])
            tokens, _ = self._pool(features)
            if tokens.shape[2] > self.width:
                tokens = pooling.average_channels(tokens, self.width)
        for (picture, _), values in zip(good, tokens.float().cpu().numpy(), strict=True):
            if np.isfinite(values).all():
                sums.add(picture.row, values)
            else:
                sums.faults.append(self._fault(picture, "the encoder's output for it is not finite"))

    def _fault(self, picture: _Picture, reason: str) -> dict[str, str]:
        return {"entity": self._dataset.entities.ids[picture.row], "file": picture.file, "reason": reason}

    def _choose_pooling(self, features: Tensor) -> str:
        if self._options.image_pooling != "auto":
            return self._options.image_pooling
        return "published" if features.ndim == 3 else "grid"

    def _pool(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled tokens (B, n, C) and which of the n are present (n,)."""
        wanted = self._options.image_tokens
        if self._pooling == "grid":
            try:
                tokens = pooling.grid(self._backbone.as_map(features), wanted or GRID_TOKENS)
            except ValueError as error:
                raise UserError(
                    f"--image-tokens {wanted}: {error}, which grid pooling needs; give 4, 9, 16, …"
                ) from error
            return pooling.fit_tokens(tokens, tokens.shape[1])
        tokens = self._backbone.as_tokens(features)
        if self._pooling == "published":
            if tokens.shape[1] < pooling.PUBLISHED_TOKEN_KERNEL or tokens.shape[2] < pooling.PUBLISHED_CHANNEL_KERNEL:
                shape = f"{tokens.shape[1]} x {tokens.shape[2]}"
                raise UserError(f"--image-pooling published: the encoder gives only {shape}; give grid or none")
            tokens = pooling.published(tokens)
        return pooling.fit_tokens(tokens, wanted or tokens.shape[1])


class _Sums:
    """Sums over the pictures of each entity of one span, and what was wrong with the others."""

    def __init__(self, span: Span, tokens: int, width: int) -> None:
        self._span = span
        self._values = np.zeros((len(span), tokens, width), dtype=np.float32)
        self._counts = np.zeros(len(span), dtype=np.int64)
        self.faults: list[dict[str, str]] = []

    def add(self, row: int, values: np.ndarray) -> None:
        self._values[row - self._span.start] += values
        self._counts[row - self._span.start] += 1

    def finish(self, present: np.ndarray) -> Encoded:
        """Means over an entity's usable pictures, fp16; `present` (n,) says which tokens are not padding."""
        means = self._values / np.maximum(self._counts, 1)[:, None, None]
        mask = (self._counts > 0)[:, None] & present
        values = means.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        return Encoded(self._span, values, mask, {"faults": self.faults})
