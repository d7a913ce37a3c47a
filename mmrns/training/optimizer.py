"""The optimiser with its two parameter groups, and the learning-rate schedule."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR

from mmrns.config import Config
from mmrns.training.base import Objective


def build_optimizer(config: Config, objective: Objective) -> torch.optim.Optimizer:
    """The configured optimiser: embeddings at --learning-rate, the sampler's parameters at --sampler-learning-rate."""
    # PyTorch's fused kernels walk a parameter's memory as if it were contiguous: a view would move its neighbours.
    for parameter in objective.parameters():
        parameter.data = parameter.data.contiguous()
    groups = [{"params": list(objective.model.parameters()), "lr": config.learning_rate}]
    sampler_parameters = list(objective.sampler.parameters())
    if sampler_parameters:
        groups.append({"params": sampler_parameters, "lr": config.sampler_learning_rate})
    # The fused kernels make one pass over a table instead of several; both CPU and CUDA have them.
    if config.optimizer == "adagrad":
        return torch.optim.Adagrad(groups, fused=True)
    return torch.optim.Adam(groups, fused=True)


def build_schedule(config: Config, optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
    """Linear warm-up to the full rate, then constant, linear to 0, or half a cosine to 0 at the last step."""

    def factor(done: int) -> float:
        if done < config.warmup_steps:
            return (done + 1) / (config.warmup_steps + 1)
        progress = (done - config.warmup_steps) / max(1, steps - config.warmup_steps)
        if config.schedule == "linear":
            return max(0.0, 1.0 - progress)
        if config.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return 1.0

    return LambdaLR(optimizer, factor)
