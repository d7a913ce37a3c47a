"""What a training step costs, configuration against configuration."""

import statistics
import time
from dataclasses import dataclass

import torch

from mmrns.config import Config
from mmrns.graph.held_out import dataset_of
from mmrns.memory import tuned_process
from mmrns.training.batches import Batches, derived_seed
from mmrns.training.loop import open_features
from mmrns.training.objective import build_objective
from mmrns.training.optimizer import build_optimizer


@dataclass(frozen=True)
class StepTimes:
    """Seconds of single optimiser steps, in the order measured."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """Median seconds a step."""
        return statistics.median(self.seconds)


@tuned_process()
def time_steps(configs: dict[str, Config], repetitions: int, warm_up: int = 3) -> dict[str, StepTimes]:
    """Time optimiser steps of several configurations in turn: A B A B ..., after `warm_up` rounds.

    A step is what training does between two batches: draw, score, backward, update. Validation and logging are not.
    """
    steppers = {name: _Stepper(config) for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    for repetition in range(warm_up + repetitions):
        for name, stepper in steppers.items():
            took = stepper.step()
            if repetition >= warm_up:
                seconds[name].append(took)
    return {name: StepTimes(values) for name, values in seconds.items()}


class _Stepper:
    """One configuration, ready to step."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
        dataset = dataset_of(config)
        torch.manual_seed(config.seed)
        self.objective = build_objective(config, dataset, open_features(dataset, config, self.device), self.device)
        self.optimizer = build_optimizer(config, self.objective)
        self.triples = torch.from_numpy(dataset.train).to(self.device)
        self.batches = Batches(len(dataset.train), config.batch_size, config.seed)
        self.generator = torch.Generator(self.device)
        self.done = 0

    def step(self) -> float:
        """Take one step; returns its seconds."""
        self.done += 1
        started = time.perf_counter()
        rows = self.batches.rows(self.done).to(self.device)
        self.generator.manual_seed(derived_seed(self.config.seed, self.done, 0, 1))
        self.objective(self.triples[rows], self.done, self.generator, False).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started
