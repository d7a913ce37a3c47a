"""From an encoder's output to a fixed number of tokens of a fixed width."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor

from mmrns.errors import UserError

# The kernels behind the published feature files: 197 x 768 tokens of BEiT become 24 x 383.
PUBLISHED_TOKEN_KERNEL = 8
PUBLISHED_CHANNEL_KERNEL, PUBLISHED_CHANNEL_STRIDE = 3, 2


def published(tokens: Tensor) -> Tensor:
    """The authors' pooling of a token sequence (B, N, C), class token included.

    Averages 8 neighbouring tokens (stride 8), then 3 neighbouring channels (stride 2); remainders are dropped.
    Returns (B, N // 8, (C - 3) // 2 + 1): 197 x 768 gives 24 x 383.
    """
    kernel = (PUBLISHED_TOKEN_KERNEL, PUBLISHED_CHANNEL_KERNEL)
    return F.avg_pool2d(tokens, kernel, stride=(PUBLISHED_TOKEN_KERNEL, PUBLISHED_CHANNEL_STRIDE))


def grid(feature_map: Tensor, tokens: int) -> Tensor:
    """Average a feature map (B, C, H, W) into g x g cells, g = sqrt(tokens), row by row.

    Returns (B, tokens, C). `tokens` must be a square number.
    """
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ValueError(f"{tokens} is not a square number")
    return F.adaptive_avg_pool2d(feature_map, side).flatten(2).transpose(1, 2)


def average_channels(tokens: Tensor, width: int) -> Tensor:
    """Average neighbouring channels of (B, n, C) into `width` groups of (nearly) equal size; C >= width."""
    return F.adaptive_avg_pool1d(tokens, width)


def fit_tokens(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Crop (B, n, C) to its first `count` tokens, or pad it with zero rows; returns (B, count, C) and mask (count,)."""
    present = torch.arange(count, device=tokens.device) < tokens.shape[1]
    return F.pad(tokens[:, :count], (0, 0, 0, max(0, count - tokens.shape[1]))), present


class TokenPca:
    """Principal components of the present tokens of a dataset, as a deterministic channel reduction.

    Attributes:
        width: components kept: the wanted width, or fewer when there are not as many tokens or channels.
        explained: share of the tokens' variance that is kept, 0 to 1.
    """

    def __init__(self, values: np.ndarray, mask: np.ndarray, width: int, sample: int) -> None:
        """Fit on at most `sample` tokens, evenly spread over values (E, n, C) where mask (E, n) is on.

        Raises UserError for fewer than two tokens, which have no components.
        """
        rows, slots = np.nonzero(mask)
        chosen = np.linspace(0, len(rows) - 1, min(sample, len(rows))).astype(np.int64)
        if len(chosen) < 2:
            raise UserError(
                "--image-reduction pca: needs two tokens or more to fit on; give a larger --pca-sample or more "
                "pictures, or --image-reduction average"
            )
        tokens = np.asarray(values[rows[chosen], slots[chosen]], dtype=np.float32)
        self.width = min(width, *tokens.shape)
        self._pca = PCA(self.width, svd_solver="covariance_eigh").fit(tokens)
        self.explained = float(np.nan_to_num(self._pca.explained_variance_ratio_).sum())

    def __call__(self, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Project values (k, n, C) to (k, n, width) float32; rows of absent tokens are zero."""
        projected = np.zeros((*mask.shape, self.width), dtype=np.float32)
        if mask.any():
            projected[mask] = self._pca.transform(np.asarray(values[mask], dtype=np.float32))
        return projected
