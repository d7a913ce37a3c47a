"""Pictures from files: read, made upright and RGB, resized, and stacked into batches by worker processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmrns.errors import UserError
from mmrns.files import file_inside

Pixels = np.ndarray | Tensor
"""(3, H, W) uint8; timm gives an array or a tensor."""

# An encoder's transform scales the short side first: of a strip of pixels the long side becomes gigabytes.
_LARGEST_ASPECT = 100

Decoded = tuple[list[str], Tensor | None, dict[str, str]]
"""Files that could be read, their pixels (B, 3, H, W) uint8 (None: not one), and of the others the reason."""


class PictureError(Exception):
    """A picture that cannot be used; the message is its reason in the manifest."""


def read_picture(folder: Path, file: str) -> Image.Image:
    """The picture `file` (relative to `folder`) upright in RGB; see-through parts become white.

    Raises PictureError: missing, corrupt, longer than _LARGEST_ASPECT times its width or the other way round, or
    outside of the folder (symbolic links are followed first).
    """
    try:
        path = file_inside(folder, file)
    except ValueError as error:
        raise PictureError(str(error)) from error
    try:
        with Image.open(path) as opened:
            if max(opened.size) > _LARGEST_ASPECT * min(opened.size):
                raise PictureError(f"is {opened.width} x {opened.height}: beyond {_LARGEST_ASPECT} to 1")
            return _as_rgb(ImageOps.exif_transpose(opened))
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture in a known format") from None
    except Exception as error:  # Pillow's decoders raise a dozen kinds for damaged files
        raise PictureError(f"cannot be decoded ({_said(error)})") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, of which Pillow's own conversion would keep the low 8
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return image.convert("RGB")


class _Pictures(Dataset[tuple[str, Pixels | str]]):
    """Files as pixels (3, H, W) uint8, or the reason why there are none. All that a worker process is given."""

    def __init__(self, folder: Path, files: Sequence[str], transform: Callable[[Image.Image], Pixels]) -> None:
        self._folder, self._files, self._transform = folder, files, transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[str, Pixels | str]:
        file = self._files[index]
        try:
            picture = read_picture(self._folder, file)
        except PictureError as fault:
            return file, str(fault)
        try:
            return file, self._transform(picture)
        except MemoryError:  # that of the machine: features do not depend on how much of it there is
            raise
        except Exception as error:
            return file, f"cannot be resized ({_said(error)})"


def _stack(pictures: list[tuple[str, Pixels | str]]) -> Decoded:
    good = [(file, pixels) for file, pixels in pictures if not isinstance(pixels, str)]
    faults = {file: reason for file, reason in pictures if isinstance(reason, str)}
    stacked = torch.stack([torch.as_tensor(pixels) for _, pixels in good]) if good else None
    return [file for file, _ in good], stacked, faults


def _cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decoded(
    folder: Path,
    batches: Sequence[Sequence[str]],
    transform: Callable[[Image.Image], Pixels],
    workers: int,
    pin_memory: bool = False,
) -> Iterator[Decoded]:
    """Pictures, batch by batch, in the order given; worker processes read and resize some batches ahead.

    Args:
        folder: that the files are relative to.
        batches: files of each batch.
        transform: from a picture in RGB to pixels (3, H, W) uint8.
        workers: processes, at most one a CPU; 0: this one reads them, when they are asked for. One batch is not worth
            a process.
        pin_memory: put pixels where a GPU fetches them while the program goes on.

    Raises:
        UserError: a worker process died.
    """
    numbers = iter(range(sum(map(len, batches))))
    loader: DataLoader[Any] = DataLoader(
        _Pictures(folder, [file for batch in batches for file in batch], transform),
        batch_sampler=[[next(numbers) for _ in batch] for batch in batches],
        num_workers=min(workers, _cpus(), len(batches) - 1) if batches else 0,
        collate_fn=_stack,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # its seed for the workers is not to be drawn from the program's numbers
    )
    at, arriving = 0, iter(loader)
    while at < len(batches):
        try:
            found = next(arriving)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise UserError(
                f"{folder / batches[at][0]}: a process that reads pictures died at this one or one soon after it "
                "(out of memory, or killed); the same command goes on from here; --decoders 0 reads without processes"
            ) from error
        yield found
        at += 1
