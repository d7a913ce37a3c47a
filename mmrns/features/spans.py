"""The unit of work of an extraction: a run of entity rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Span = range


@dataclass(frozen=True)
class Encoded:
    """Features of one span of k entities.

    Attributes:
        span: the entity rows.
        values: (k, n, D) fp16, zero where the mask is off.
        mask: (k, n) bool.
        note: JSON-able facts about the span, such as {"faults": […]}.
    """

    span: Span
    values: np.ndarray
    mask: np.ndarray
    note: dict[str, Any]


def spans(first: int, entities: int, size: int) -> list[Span]:
    """The spans of `size` rows (the last may be shorter) from row `first` to `entities`."""
    return [range(start, min(start + size, entities)) for start in range(first, entities, size)]
