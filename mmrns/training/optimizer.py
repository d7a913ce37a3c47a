"""The optimiser with its parameter groups, dense and sparse; clipping; and the learning-rate schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mmrns.config import Config
from mmrns.encoders import EntityEncoder
from mmrns.errors import UserError
from mmrns.training.base import Objective
from mmrns.training.row_adam import RowAdam, coalesced

# Above this many numbers in the entity table, --sparse auto updates the touched rows alone.
_LARGE_TABLE = 1 << 25


class Together(torch.optim.Optimizer):
    """Several optimisers that step as one: torch has none that takes dense and sparse gradients in Adam's way.

    Attributes:
        parts: the optimisers, each with parameters of its own.
    """

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        # The base class would make groups and a state of its own. These are the parts', which loading a state replaces:
        # a schedule must reach those that are in use.
        self.parts = parts
        self.defaults: dict[str, Any] = {}

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Groups of all parts, in order."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step every part. A closure is not taken: it would be called once a part."""
        if closure is not None:
            raise ValueError("no closure is taken")
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parts."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def sparse_table(config: Config, encoder: EntityEncoder, launched: bool = False) -> bool:
    """Whether a run updates only the rows of the entity table that a step uses.

    Args:
        launched: whether torchrun or accelerate started this process.

    Raises:
        UserError: --sparse always with an encoder that cannot, or in a process of a launcher's.
    """
    if config.sparse == "never":
        return False
    # Gradients are averaged over processes by torch's DistributedDataParallel, which takes sparse ones from
    # nn.Embedding alone.
    possible = encoder.takes_sparse and config.objective == "sampled" and not launched
    if config.sparse == "auto":
        return possible and encoder.table.numel() > _LARGE_TABLE
    if not possible:
        why = "what torchrun or accelerate started" if launched else f"--encoder {config.encoder}"
        raise UserError(f"--sparse always: {why} cannot; use --sparse never")
    return True


def build_optimizer(config: Config, objective: Objective) -> torch.optim.Optimizer:
    """The configured optimiser: embeddings at --learning-rate, the sampler's parameters at --sampler-learning-rate.

    Where the encoder's table is sparse, it has an optimiser of its own that costs the same for any number of rows:
    torch's Adagrad, to the same numbers, or torch's SparseAdam (`RowAdam`), whose moments of a row rest while it is not
    used.
    """
    # PyTorch's fused kernels walk a parameter's memory as if it were contiguous: a view would move its neighbours.
    for parameter in objective.parameters():
        parameter.data = parameter.data.contiguous()
    entities = objective.model.entities
    table = [entities.table] if entities.sparse else []
    dense = [p for p in objective.model.parameters() if not any(p is other for other in table)]
    groups = [{"params": dense, "lr": config.learning_rate}]
    sampler_parameters = list(objective.sampler.parameters())
    if sampler_parameters:
        groups.append({"params": sampler_parameters, "lr": config.sampler_learning_rate})
    # The fused kernels make one pass over a table instead of several; both CPU and CUDA have them.
    if config.optimizer == "adagrad":
        fused: torch.optim.Optimizer = torch.optim.Adagrad(groups, fused=True)
        by_row: type[torch.optim.Optimizer] = torch.optim.Adagrad
    else:
        fused, by_row = torch.optim.Adam(groups, fused=True), RowAdam
    if not table:
        return fused
    return Together([fused, by_row(table, lr=config.learning_rate)])  # type: ignore[call-arg]


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], objective: Objective) -> None:
    """Put a saved state back, also where the table is sparse and was not when it was saved, or the other way round."""
    sparse = objective.model.entities.sparse
    if sparse != ("parts" in state):
        now, table = optimizer.state_dict(), objective.model.entities.table
        place = next(place for place, other in enumerate(objective.model.parameters()) if other is table)
        state = _by_rows(state, now, place) if sparse else _in_one(state, now, place)
    optimizer.load_state_dict(state)


def _by_rows(state: dict[str, Any], now: dict[str, Any], place: int) -> dict[str, Any]:
    """The state of one optimiser as that of a `Together`, whose groups are those of `now`; the table was at `place`."""
    dense = {number - (number > place): kept for number, kept in state["state"].items() if number != place}
    table = {number - place: kept for number, kept in state["state"].items() if number == place}
    return {"parts": [part | {"state": kept} for part, kept in zip(now["parts"], (dense, table), strict=True)]}


def _in_one(state: dict[str, Any], now: dict[str, Any], place: int) -> dict[str, Any]:
    """Undo `_by_rows`."""
    dense, table = (part["state"] for part in state["parts"])
    moved = {number + (number >= place): kept for number, kept in dense.items()}
    return now | {"state": moved | {number + place: kept for number, kept in table.items()}}


def gradient_values(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The numbers of every gradient there is, which may be changed in place; of a sparse one, its rows, each once."""
    values = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = coalesced(parameter.grad)
            values.append(parameter.grad.values())
        else:
            values.append(parameter.grad)
    return values


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale all gradients so that their 2-norm together is at most `largest`, as torch's clip_grad_norm_ does."""
    values = gradient_values(parameters)
    if values:
        norm = torch.nn.utils.get_total_norm(values)
        torch._foreach_mul_(values, (largest / (norm + 1e-6)).clamp(max=1.0))


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


def continue_schedule(schedule: LambdaLR, steps: int) -> None:
    """Go on after so many finished steps, at the rates of this schedule: a loaded state may have had another's."""
    schedule.last_epoch = steps
    groups = zip(schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True)
    for group, base, factor in groups:
        group["lr"] = base * factor(steps)
