"""state.pt: all that an exact continuation needs and the model file does not hold."""

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from mmrns.errors import UserError
from mmrns.files import atomic_path
from mmrns.training.base import Objective
from mmrns.training.optimizer import load_optimizer


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: finished optimiser steps; also the data position (see Batches).
        best_step, best_value: the checkpoint selected so far and its metric on valid; -1 before the first validation.
        since_best: validations since then.
        train_seconds: time spent in steps, validation left out.
        stopped: early stopping has ended the run.
        valid_every: steps between validations, settled when the run was begun; 0 before, and in older files.
    """

    step: int = 0
    best_step: int = 0
    best_value: float = -1.0
    since_best: int = 0
    train_seconds: float = 0.0
    stopped: bool = False
    valid_every: int = 0


def save_state(
    path: Path, progress: Progress, objective: Objective, optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> None:
    """Write everything atomically; loadable with weights_only=True."""
    state = {
        "progress": asdict(progress),
        "objective": objective.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
        "random": random_states(),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def load_state(
    path: Path, objective: Objective, optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> Progress:
    """Put everything back; UserError names a file that is missing or does not fit."""
    if not path.is_file():
        raise UserError(f"{path}: missing, so this run cannot be resumed; train it anew into another folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        objective.load_state_dict(state["objective"])
        load_optimizer(optimizer, state["optimizer"], objective)
        if accelerator.scaler is not None and state["scaler"] is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        restore_random_states(state["random"])
        return Progress(**state["progress"])
    except Exception as error:  # torch raises many kinds for a damaged archive, and all mean the same to the user
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path}: cannot be resumed from ({reason}); restore the file or train anew") from error


def random_states() -> dict[str, Any]:
    """State of every global generator, as plain values and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.array(keys, dtype=np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Undo `random_states`."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
