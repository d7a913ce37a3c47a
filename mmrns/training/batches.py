"""How many steps a run takes, and the order of its examples as a function of the seed and the step alone."""

import math

import numpy as np
import torch
from torch import Tensor

from mmrns.config import Config


def derived_seed(*parts: int) -> int:
    """A well-mixed 63-bit seed from small integers; the same parts give the same seed everywhere."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def total_steps(config: Config, num_examples: int) -> int:
    """Steps of the run: --steps, else --epochs (100 by default) passes over the objective's examples."""
    return config.steps or math.ceil((config.epochs or 100) * num_examples / config.batch_size)


class Batches:
    """An endless stream of seeded permutations of the triples, cut into batches.

    Step s reads places (s - 1) * batch_size onward, across the end of a permutation where it must, so every batch is
    full and the data position is the step itself: nothing has to be stored to resume.
    """

    def __init__(self, num_triples: int, batch_size: int, seed: int) -> None:
        self.num_triples = num_triples
        self.batch_size = batch_size
        self.seed = seed
        self._permutations: dict[int, Tensor] = {}

    def rows(self, step: int, share: int = 0, shares: int = 1) -> Tensor:
        """Triple rows of a step (from 1): (batch_size,), or the share-th of `shares` equal parts of them."""
        start = (step - 1) * self.batch_size
        places = torch.arange(start + share, start + self.batch_size, shares)
        epochs, within = places // self.num_triples, places % self.num_triples
        needed = range(int(epochs[0]), int(epochs[-1]) + 1)
        self._permutations = {epoch: self._permutation(epoch) for epoch in needed}
        rows = torch.empty_like(places)
        for epoch in needed:
            here = epochs == epoch
            rows[here] = self._permutations[epoch][within[here]]
        return rows

    def _permutation(self, epoch: int) -> Tensor:
        if epoch in self._permutations:
            return self._permutations[epoch]
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, 0))
        return torch.randperm(self.num_triples, generator=generator)
