"""Which part of a picture a pooled image token stands for, from what features.json says of its extraction."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrns.features.pooling import PUBLISHED_TOKEN_KERNEL

# More class and register tokens than any backbone has before its patches.
_MOST_PREFIX_TOKENS = 32


@dataclass(frozen=True)
class Regions:
    """The map from V image tokens to the cells of the encoder's patch grid.

    Attributes:
        rows, columns: of the grid, which covers the picture as the encoder saw it (resized and cropped).
        shares: (V, rows * columns): how much of a token is the mean of which cell, row by row. A row sums to 1, less
            what the token averages from the class token and its like.
    """

    rows: int
    columns: int
    shares: NDArray[np.float64]

    @property
    def outside(self) -> NDArray[np.float64]:
        """(V,) share of each token that is no part of the picture: the class token's, and padding's."""
        return 1 - self.shares.sum(1)

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """(rows, columns): cells that no token covers."""
        return (self.shares.sum(0) == 0).reshape(self.rows, self.columns)

    def heat(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Attention (V,) of tokens as that of cells (rows, columns), in multiples of an even attention's.

        A token's weight is spread over its cells. Where tokens overlap, a cell has a part in several, so it is divided
        by what it would get if all tokens weighed the same: 1 is even. NaN where no token looks.
        """
        even = self.shares.sum(0)
        spread = len(weights) * (weights @ self.shares)
        times = np.divide(spread, even, out=np.full_like(even, np.nan), where=even > 0)
        return times.reshape(self.rows, self.columns)


def regions(manifest: dict[str, Any]) -> Regions | None:
    """The regions of a feature file, from its manifest's image entry; None where it does not say how it was made.

    - grid: g x g cells over the patches, as adaptive average pooling lays them (neighbours may overlap by a patch).
    - published: runs of 8 along the token sequence, so the class token is in the first and the last 5 of 196 patches
      are in none.
    - none: a token a patch.
    """
    entry = manifest.get("modalities", {}).get("image", {})
    try:
        pooling, tokens, sequence = str(entry["pooling"]), int(entry["tokens"]), int(entry["source_tokens"])
        _, height, width = entry["preprocessing"]["input_size"]
    except (KeyError, TypeError, ValueError):
        return None
    shape = _patch_grid(sequence, int(height), int(width))
    if shape is None:
        return None
    rows, columns, prefix = shape
    if pooling == "grid":
        side = math.isqrt(tokens)
        if side * side != tokens:
            return None
        return Regions(rows, columns, np.kron(_windows(side, rows), _windows(side, columns)).astype(np.float64))
    kernel = {"published": PUBLISHED_TOKEN_KERNEL, "none": 1}.get(pooling)
    if kernel is None:
        return None
    by_sequence = np.zeros((tokens, sequence))
    for token in range(min(tokens, sequence // kernel)):
        by_sequence[token, token * kernel : (token + 1) * kernel] = 1 / kernel
    return Regions(rows, columns, by_sequence[:, prefix:])


def _patch_grid(sequence: int, height: int, width: int) -> tuple[int, int, int] | None:
    """Rows and columns of patches, and tokens before them, in a sequence of this length over such a picture."""
    for prefix in range(min(sequence, _MOST_PREFIX_TOKENS)):
        patches = sequence - prefix
        rows = round(math.sqrt(patches * height / width))
        if rows and patches % rows == 0 and abs(rows * width - patches // rows * height) < max(height, width):
            return rows, patches // rows, prefix
    return None


def _windows(cells: int, length: int) -> NDArray[np.float64]:
    """(cells, length): the windows of adaptive average pooling, each normalised."""
    found = np.zeros((cells, length))
    for cell in range(cells):
        start, end = cell * length // cells, -(-(cell + 1) * length // cells)
        found[cell, start:end] = 1 / (end - start)
    return found
