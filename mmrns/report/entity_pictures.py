"""Small pictures of entities."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mmrns.explanation.entities import Entities
from mmrns.explanation.pictures import Pixels


def thumbnails(entities: Entities, side: int) -> Callable[[int], Pixels | None]:
    """A function from an entity's row to its first readable picture, at most `side` pixels wide and high; else None."""
    from mmrns.features.images import PictureError, read_picture

    kept: dict[int, Pixels | None] = {}

    def thumbnail(row: int) -> Pixels | None:
        if row not in kept:
            kept[row] = None
            for file in map(Path, entities[row].pictures):
                try:
                    picture = read_picture(file.parent, file.name)
                except PictureError:
                    continue
                picture.thumbnail((side, side), Image.Resampling.LANCZOS)
                kept[row] = np.asarray(picture)
                break
        return kept[row]

    return thumbnail
