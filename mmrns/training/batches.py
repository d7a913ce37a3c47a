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


def on_device(rows: Tensor, device: torch.device) -> Tensor:
    """Rows of main memory on a device. From pinned memory a GPU copies them while this process goes on."""
    return rows.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else rows.to(device)


class Batches:
    """An endless stream of seeded permutations of the examples, cut into batches.

    Step s reads places (s - 1) * batch_size onward, across the end of a permutation where it must, so every batch is
    full and the data position is the step itself: nothing has to be stored to resume.

    With a group size c above 1, examples of one relation come c at a time: a permutation is cut, relation by relation,
    into groups of c (the last of a relation may be smaller), and the groups are shuffled. Every example still comes
    once an epoch, and few relations meet many examples in a batch, which is what MMRNS's cost depends on.
    PyTorch-BigGraph groups its batches by relation too (Lerer et al., MLSys 2019).
    """

    def __init__(
        self, num_triples: int, batch_size: int, seed: int, relation: Tensor | None = None, group: int = 1
    ) -> None:
        """Batches of `num_triples` examples; `relation` (num_triples,) is needed where `group` is above 1."""
        self.num_triples = num_triples
        self.batch_size = batch_size
        self.seed = seed
        self.group = group
        self.relation = None
        if group > 1:
            assert relation is not None
            assert len(relation) == num_triples
            self.relation = relation
        self._permutations: dict[int, Tensor] = {}

    @classmethod
    def of(cls, config: Config, examples: Tensor) -> "Batches":
        """Batches of an objective's examples (N, 3), whose second column is the relation."""
        relation = examples[:, 1].cpu() if config.relation_group > 1 else None
        return cls(len(examples), config.batch_size, config.seed, relation, config.relation_group)

    def rows(self, step: int, share: int = 0, shares: int = 1) -> Tensor:
        """Example rows of a step (from 1): (batch_size,), or the share-th of `shares` equal parts of them."""
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
        order = torch.randperm(self.num_triples, generator=generator)
        return order if self.relation is None else _grouped(order, self.relation, self.group, generator)


def _grouped(order: Tensor, relation: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A permutation (N,) with its examples of one relation brought together, `size` at a time, in a random order."""
    order = order[torch.argsort(relation[order], stable=True)]
    _, counts = torch.unique_consecutive(relation[order], return_counts=True)
    groups = (counts + size - 1) // size
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)  # place of the relation's first example
    number = (groups.cumsum(0) - groups).repeat_interleave(counts) + (torch.arange(len(order)) - first) // size
    place = torch.randperm(int(groups.sum()), generator=generator)[number]
    return order[torch.argsort(place, stable=True)]
