"""Vectors for TensorBoard's Embedding Projector, with labels, types and small pictures."""

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from mmrns.analysis.draws import sampled
from mmrns.analysis.result import Options
from mmrns.analysis.spaces import spaces
from mmrns.errors import unwritable
from mmrns.explanation import Explainer
from mmrns.explanation.pictures import Pixels
from mmrns.report.entity_pictures import thumbnails

# TensorBoard reads sprites of at most 8192 pixels: 256 pictures of this side in a row.
_SIDE = 32


def write_projector(explainer: Explainer, folder: Path, options: Options) -> None:
    """Write every space of a run into `folder`, in place of what is there; show it with tensorboard --logdir `folder`.

    Raises:
        UserError: the folder cannot be written.
    """
    picture = thumbnails(explainer.entities, _SIDE)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".projector.") as temporary:
            made = Path(temporary) / "projector"
            writer = SummaryWriter(str(made))
            for space in spaces(explainer):
                rows = sampled(space.rows, options)
                header, described = _metadata(explainer, rows.tolist(), space.of_entities)
                writer.add_embedding(
                    space.gather(rows).astype(np.float32),
                    metadata=described,
                    metadata_header=header,
                    label_img=_sprites(rows.tolist(), picture) if space.of_entities else None,
                    tag=space.name,
                )
            writer.close()
            if folder.exists():
                shutil.rmtree(folder)
            made.replace(folder)
    except OSError as error:
        raise unwritable(folder, error) from error


def _metadata(explainer: Explainer, rows: list[int], of_entities: bool) -> tuple[list[str], list[Any]]:
    dataset = explainer.dataset
    if not of_entities:
        names = dataset.relations
        # With reciprocal relations, rows behind the last stand for the inverses.
        return ["label", "id"], [
            [_cell(names.labels[row % len(names)]) + (" (inverse)" if row >= len(names) else ""),
             _cell(names.ids[row % len(names)])]
            for row in rows
        ]  # fmt: skip
    names = dataset.entities
    types = [dataset.records.get(names.ids[row], {}).get("type") or "" for row in rows]
    return ["label", "id", "type"], [
        [_cell(names.labels[row]), _cell(names.ids[row]), _cell(kind)] for row, kind in zip(rows, types, strict=True)
    ]


def _cell(text: str) -> str:
    """A text without the tabs and line ends that would end a cell."""
    return re.sub(r"\s+", " ", text)


def _sprites(rows: list[int], picture: Callable[[int], Pixels | None]) -> torch.Tensor:
    """(N, 3, side, side) from 0 to 1: pictures in the middle of white squares, grey ones where there is none."""
    sprites = np.full((len(rows), 3, _SIDE, _SIDE), 0.8, dtype=np.float32)
    for place, row in enumerate(rows):
        if (found := picture(row)) is not None:
            height, width = found.shape[:2]
            sprites[place] = 1
            top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
            sprites[place, :, top : top + height, left : left + width] = found.transpose(2, 0, 1) / 255
    return torch.from_numpy(sprites)
