"""Writing a features.safetensors of any size a block of entities at a time, without holding it in memory.

The format (https://github.com/huggingface/safetensors): the header's length as 8 little-endian bytes, a JSON header
that gives each tensor's type, shape and place, then the tensors' bytes, one after another.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mmrns.features.spans import Span, spans

Block = Callable[[str, Span], tuple[np.ndarray, np.ndarray]]
"""(modality, entity rows) -> values (k, n, D), zero where the mask is off, and mask (k, n) bool."""

_ROWS_AT_ONCE = 8192


def stream_features(
    path: Path, entities: int, shapes: Mapping[str, tuple[int, int]], block: Block, metadata: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], str]:
    """Write values as fp16 and masks as bytes of 0 and 1.

    Args:
        path: the file to write.
        entities: E.
        shapes: modality -> (tokens, width).
        block: makes the numbers of some entities of one modality.
        metadata: texts for the header.

    Returns:
        Modality -> mask (E, tokens), and the SHA-256 of the file.

    Raises:
        ValueError: a block of another shape, or with a number that is not finite in fp16.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    for suffix, kind, size in (("", "F16", 2), ("_mask", "BOOL", 1)):
        for name, (tokens, width) in shapes.items():
            stored = [entities, tokens, width] if not suffix else [entities, tokens]
            end = place + size * int(np.prod(stored))
            header[name + suffix] = {"dtype": kind, "shape": stored, "data_offsets": [place, end]}
            place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    masks = {name: np.zeros((entities, tokens), dtype=np.bool_) for name, (tokens, _) in shapes.items()}
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(data: bytes | memoryview) -> None:
            digest.update(data)
            file.write(data)

        put(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for span in spans(0, entities, _ROWS_AT_ONCE):
                values, mask = block(name, span)
                with np.errstate(over="ignore"):
                    values = np.ascontiguousarray(values, dtype=np.float16)
                if values.shape != (len(span), *shape) or mask.shape != values.shape[:2]:
                    raise ValueError(f"{name}: rows {span} are {values.shape} and {mask.shape}, not {shape} an entity")
                if not np.isfinite(values).all():
                    raise ValueError(f"{name}: rows {span} hold values that are not finite in fp16")
                masks[name][span.start : span.stop] = mask
                put(values.data.cast("B"))
        for mask in masks.values():
            put(mask.data.cast("B"))
    return masks, digest.hexdigest()
