"""What a training step costs: ours, side by side with others."""

import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mmrns.benchmark.alternation import Phases, Side, alternate, mark
from mmrns.config import Config
from mmrns.features import FeatureStore
from mmrns.features.mapped import Tokens
from mmrns.graph import Dataset
from mmrns.graph.held_out import dataset_of
from mmrns.processes import device_of
from mmrns.training.base import Objective
from mmrns.training.batches import Batches, derived_seed
from mmrns.training.loop import open_features
from mmrns.training.objective import build_objective
from mmrns.training.optimizer import build_optimizer

Shapes = Mapping[str, tuple[int, int]]
"""Modality -> (tokens, width)."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of single optimiser steps, in the order measured."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """Median seconds a step."""
        return statistics.median(self.seconds)


def time_steps(configs: dict[str, Config], repetitions: int, warm_up: int = 3) -> dict[str, StepTimes]:
    """Time optimiser steps of several configurations in turn: A B A B ..., after `warm_up` rounds.

    A step is what training does between two batches: draw, score, backward, update. Validation and logging are not.
    """
    times = alternate({name: OurStep(config) for name, config in configs.items()}, repetitions, warm_up)
    return {name: StepTimes(found.wall) for name, found in times.items()}


@dataclass(frozen=True)
class OurStep(Side):
    """A training step of `mmrns train`.

    Attributes:
        config: of the run.
        random_features: shapes of random features in place of the dataset's own; None: those that it has.
    """

    config: Config
    random_features: Shapes | None = None

    @property
    def work(self) -> int:
        """Triples a step."""
        return self.config.batch_size

    def prepare(self) -> Callable[[], Phases]:
        """Build dataset, model, sampler and optimiser."""
        return Stepper(self.config, self.random_features).step


class Stepper:
    """A configuration, ready to step. `objective` may be replaced by another loss of the same parameters."""

    def __init__(self, config: Config, random_features: Shapes | None = None) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dataset = dataset_of(config)
        if random_features is None:
            self.features = open_features(self.dataset, config, self.device)
        else:
            self.features = random_store(self.dataset, random_features, self.device)
        torch.manual_seed(config.seed)
        self.objective: Objective = build_objective(config, self.dataset, self.features, self.device)
        self.optimizer = build_optimizer(config, self.objective)
        self.triples = torch.from_numpy(self.dataset.train).to(self.device)
        self.batches = Batches.of(config, self.triples)
        self.generator = torch.Generator(self.device)
        self.done = 0
        self._drawing = 0.0
        self._time_draws()

    def step(self) -> Phases:
        """Take one step; returns the seconds of its phases."""
        self.done += 1
        self._drawing = 0.0
        marks = [mark()]
        rows = self.batches.rows(self.done).to(self.device)
        self.generator.manual_seed(derived_seed(self.config.seed, self.done, 0, 1))
        loss = self.objective(self.triples[rows], self.done, self.generator, False).loss
        marks.append(mark())
        loss.backward()
        marks.append(mark())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        marks.append(mark())
        forward, backward, update = (later - earlier for earlier, later in itertools.pairwise(marks))
        return {"draw": self._drawing, "loss": forward - self._drawing, "backward": backward, "update": update}

    def _time_draws(self) -> None:
        sampler = self.objective.sampler
        draw = getattr(sampler, "draw", None)
        if draw is None:
            return

        def timed(*arguments: object) -> object:
            started = mark()
            drawn = draw(*arguments)
            self._drawing += mark() - started
            return drawn

        sampler.draw = timed  # type: ignore[assignment]


def random_store(dataset: Dataset, shapes: Shapes, device: torch.device) -> FeatureStore:
    """Features in memory, fp16 and all present: standard normal numbers, the same for the same dataset."""
    tokens = {}
    for number, (name, (count, width)) in enumerate(shapes.items()):
        generator = np.random.default_rng(number)
        values = np.empty((len(dataset.entities), count, width), dtype=np.float16)
        for entity in values:  # one at a time: numbers in single precision would take twice the memory of them all
            entity[:] = generator.standard_normal((count, width), dtype=np.float32)
        present = torch.ones(len(dataset.entities), count, dtype=torch.bool, device=device)
        tokens[name] = Tokens(torch.from_numpy(values).to(device), present)
    return FeatureStore(dataset.folder, {}, tokens, "")
