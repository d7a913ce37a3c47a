"""Several processes that do one job together: which of them this is, its share, and what is known to all."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from torch import Tensor

from mmrns.errors import UserError
from mmrns.files import claimed, lock_file

T = TypeVar("T")

WAIT_FOR_OTHERS = timedelta(days=2)
"""How long a process waits for the others of its job. torch gives up after 10 or 30 minutes, and one may write or rank
alone for longer."""


@dataclass(frozen=True)
class Processes:
    """The processes of a job. What is said to be done together, every one of them must do, in the same order.

    Attributes:
        number: how many there are; 1: this process works alone.
        index: which of them this one is, from 0.
    """

    number: int = 1
    index: int = 0

    @property
    def main(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.index == 0

    def share(self, things: Sequence[T]) -> Sequence[T]:
        """This process's part: every number-th thing, so that shares differ by one at most."""
        return things[self.index :: self.number]

    def total(self, counts: Tensor) -> Tensor:
        """Together: the sum over processes of an int64 tensor in main memory, of one shape everywhere; exact."""
        if self.number == 1:
            return counts
        total = counts.to(PartialState().device, copy=True)  # NCCL knows GPUs alone
        torch.distributed.all_reduce(total)
        return total.cpu()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Together: which flags are set in at least one process."""
        if self.number == 1:
            return flags
        return tuple(self.total(torch.tensor(flags, dtype=torch.int64)).bool().tolist())

    def wait(self) -> None:
        """Together: go on when all have come here."""
        self.any(False)  # of an empty tensor no sum is taken, and nobody waits

    @contextlib.contextmanager
    def hold(self, path: Path, refusal: str, optional: bool = False) -> Iterator[None]:
        """Together: keep other jobs off a file or folder, by a lock beside it that the main process holds.

        Args:
            refusal: what is said when another job has it.
            optional: go on without a lock where none can be written.

        Raises:
            UserError: another job has it, or, unless `optional`, no lock can be written.
        """
        with contextlib.ExitStack() as lock:
            free = True
            if self.main:
                with contextlib.suppress(*([UserError] if optional else [])):
                    free = lock.enter_context(claimed(path))
            if self.any(not free)[0]:
                raise UserError(refusal)
            try:
                yield
            finally:
                if self.main:
                    with contextlib.suppress(OSError):  # what stays is an empty file
                        lock_file(path).unlink()


ALONE = Processes()


def on_cpu(device: str) -> bool:
    """Whether --device means the CPU here. Accelerate must be told, or on a machine without GPU no process meets."""
    return device == "cpu" or not torch.accelerator.is_available()


def device_of(device: str) -> torch.device:
    """Where a process does what no Accelerator places: on a GPU where there is one, unless --device is cpu."""
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def check_device(device: str) -> None:
    """Raise UserError where --device asks for a GPU and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no GPU is available here; use --device auto or cpu")


def launched(device: str) -> Processes:
    """The processes that torchrun or accelerate launch started, once they have met; ALONE where neither did.

    Args:
        device: as --device; where it means a GPU, this process's own becomes torch's current one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    state = PartialState(cpu=on_cpu(device), timeout=WAIT_FOR_OTHERS)
    return Processes(state.num_processes, state.process_index)
