"""Pictures as the encoder saw them, and attention laid over them."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""(height, width, 3)."""

_PLAIN_SIDE = 224


class EncoderView:
    """Pictures after the resize and crop of an extraction, so that regions lie where the encoder looked.

    Attributes:
        exact: the manifest says how pictures were prepared; otherwise they are shown whole.
    """

    def __init__(self, manifest: dict[str, Any]) -> None:
        entry = manifest.get("modalities", {}).get("image", {})
        self._preprocessing: dict[str, Any] | None = entry.get("preprocessing")
        self.exact = self._preprocessing is not None

    @cached_property
    def _transform(self) -> Any:
        from timm.data import create_transform  # a second that text and JSON need not wait

        assert self._preprocessing is not None
        config: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self._preprocessing.items()
        }
        return create_transform(**config, use_prefetcher=True)

    def __call__(self, file: str | Path) -> Pixels | None:
        """The picture, or None when it cannot be read."""
        from mmrns.features.images import PictureError, read_picture

        path = Path(file)
        try:
            picture = read_picture(path.parent, path.name)
        except PictureError:
            return None
        if self.exact:
            return np.ascontiguousarray(np.asarray(self._transform(picture)).transpose(1, 2, 0))
        return np.asarray(picture.resize((_PLAIN_SIDE, _PLAIN_SIDE), Image.Resampling.BICUBIC))


def overlay(picture: Pixels, heat: NDArray[np.float64], span: float, opacity: float = 0.6) -> Pixels:
    """A grey picture under the heat of its cells, unsmoothed: the colour of a cell is that cell's.

    Args:
        heat: (rows, columns) in multiples of even attention: orange above 1, violet below; NaN, where no token looks,
            stays grey.
        span: distance from 1 of the strongest colours, so that maps side by side can be compared.
    """
    from matplotlib import colormaps

    height, width = picture.shape[:2]
    rows, columns = heat.shape
    full = heat[(np.arange(height) * rows // height)[:, None], np.arange(width) * columns // width]
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2) / 255
    coloured = colormaps["PuOr_r"](np.clip(0.5 + (full - 1) / (2 * span), 0, 1))[..., :3]
    mixed = opacity * coloured + (1 - opacity) * grey
    return (np.where(np.isnan(full)[..., None], grey, mixed) * 255).round().astype(np.uint8)
