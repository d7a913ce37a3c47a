"""Pictures inside of the page: scaled down and inlined, so that no file of the machine is ever served."""

import base64
import io
from collections import OrderedDict
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from mmrns.explanation.pictures import Pixels
from mmrns.explanation.result import Shown
from mmrns.features.images import PictureError, read_picture

# A thumbnail is about 3 KB, so the cache stays below 20 MB.
_MOST = 4096


class Thumbnails:
    """Thumbnails of entities' pictures as data URIs, the last few thousand of them kept."""

    def __init__(self, folder: Path, side: int = 160) -> None:
        """Take pictures from below `folder` (the dataset's) and nowhere else, scaled to fit `side` x `side` pixels."""
        self._folder, self._side = folder.resolve(), side
        self._kept: OrderedDict[str, str | None] = OrderedDict()
        self._lock = Lock()

    def of(self, entity: Shown) -> str | None:
        """The first of the entity's pictures that can be read; None where there is none."""
        return next((uri for file in entity.pictures if (uri := self.file(file)) is not None), None)

    def file(self, file: str) -> str | None:
        """One picture; None where it is missing, damaged or outside of the folder."""
        with self._lock:
            if file in self._kept:
                self._kept.move_to_end(file)
                return self._kept[file]
        try:
            picture = read_picture(self._folder, file)
            picture.thumbnail((self._side, self._side))
            found: str | None = data_uri(picture)
        except PictureError:
            found = None
        with self._lock:
            self._kept[file] = found
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return found


def data_uri(picture: Image.Image | Pixels) -> str:
    """A picture as a WebP data URI."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=88, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
