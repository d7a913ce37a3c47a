"""Pictures small enough to travel inside a page."""

import base64
import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from mmrns.explanation.pictures import Pixels
from mmrns.features.images import PictureError, read_picture

_SIDE, _LARGE_SIDE, _QUALITY = 144, 1200, 78


@lru_cache(maxsize=1024)
def thumbnail(file: str) -> str | None:
    """A picture file as a data URI, its longer side at most 144 pixels; None when it cannot be read."""
    path = Path(file)
    try:
        return data_uri(read_picture(path.parent, path.name), _SIDE)
    except PictureError:
        return None


def drawing(folder: Path, file: str) -> str | None:
    """A plot below the folder as a data URI, at most 1200 pixels wide; None when it cannot be read."""
    try:
        return data_uri(read_picture(folder, file), _LARGE_SIDE)
    except PictureError:
        return None


def data_uri(picture: Image.Image | Pixels, side: int = 224) -> str:
    """A picture as a WebP data URI, made smaller where a side is longer than `side`."""
    image = Image.fromarray(np.asarray(picture)) if not isinstance(picture, Image.Image) else picture.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
