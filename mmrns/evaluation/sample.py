"""A seeded sample of a split, for graphs on which ranking all of it would take too long."""

import numpy as np
import torch
from numpy.typing import NDArray

SAMPLE_SEED = 0
"""Of the sample behind the final metrics: not the run's own, so that runs of several seeds rank the same triples."""


def sampled_triples(triples: NDArray[np.int64], number: int, seed: int = SAMPLE_SEED) -> NDArray[np.int64]:
    """`number` of (N, 3) triples, every subset equally likely; all, as they are, for 0 or a number of N and more.

    Samples of one seed are nested: a larger one begins with the smaller.
    """
    if not 0 < number < len(triples):
        return triples
    order = torch.randperm(len(triples), generator=torch.Generator().manual_seed(seed))
    return triples[order[:number].numpy()]
