"""Features with a planted signal for a synthetic graph: entities of one hidden group look and read alike."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmrns.features.mapped import MODALITIES
from mmrns.features.spans import Span
from mmrns.features.store import FeatureStore
from mmrns.graph.dataset import load_dataset
from mmrns.graph.synthetic import SyntheticGraph

# Of the entities that have a modality at all; of the variance, the part that the group explains.
_COVERAGE = 0.9
_SIGNAL = 0.5


def write_features(graph: SyntheticGraph, folder: Path, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Write features.safetensors and features.json beside the triples of `graph`, in bounded memory.

    A token is the centre of its entity's group, the same for all tokens of a modality, plus uniform noise of its own;
    a number has variance 1, half of it the group's. Nine entities in ten have a modality, with 1 to all of its tokens.

    Args:
        graph: what the folder's triples were drawn from.
        folder: of the dataset.
        shapes: modality -> (tokens, width).
    """
    centres = {
        name: np.random.default_rng([graph.seed, 2, MODALITIES.index(name)])
        .standard_normal((graph.groups, width), dtype=np.float32)
        .__mul__(np.float32(_SIGNAL**0.5))
        for name, (_, width) in shapes.items()
    }

    def block(name: str, span: Span) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([graph.seed, 3, MODALITIES.index(name), span.start])
        tokens, width = shapes[name]
        number = np.where(rng.random(len(span)) < _COVERAGE, rng.integers(1, tokens + 1, size=len(span)), 0)
        mask = np.arange(tokens) < number[:, None]
        values = rng.random((len(span), tokens, width), dtype=np.float32)
        values -= 0.5
        values *= (12 * (1 - _SIGNAL)) ** 0.5  # a uniform number of an interval of length 1 has variance 1/12
        values += centres[name][graph.group(np.arange(span.start, span.stop))][:, None]
        values *= mask[..., None]
        return values, mask

    described = {name: {"encoder": "synthetic", "seed": graph.seed, "signal": _SIGNAL} for name in shapes}
    FeatureStore.write_blocks(load_dataset(folder), shapes, block, folder, {"modalities": described})
