"""Sides that do the same piece of work, timed in turn, so that the machine's moods hit them alike."""

import multiprocessing
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from mmrns.memory import peak_memory_mb, tuned_process

Phases = dict[str, float]
"""Seconds of parts of a piece of work."""

# A turn repeats a short piece of work until this long has passed: one step of 20 ms would measure the scheduler.
_TURN_SECONDS, _TURN_MOST = 0.3, 10
_marks_wait = ContextVar("marks_wait", default=False)


class Side(ABC):
    """One way to do a piece of work. Sides can be pickled, so that one can be run in a process of its own."""

    slow: ClassVar[bool] = False
    """Takes so long that it is not warmed up: what only its first piece pays is little beside the rest."""

    @abstractmethod
    def prepare(self) -> Callable[[], Phases]:
        """Load and build what is not timed; returns what does the work once and says how long its parts took."""

    @property
    @abstractmethod
    def work(self) -> int:
        """Units (triples, queries) of one piece of work."""


@dataclass
class Times:
    """Of one side: seconds of one piece of work, a turn each.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of all threads together; hardly moved by what else runs on the machine.
        phases: seconds of parts, summed over all turns; on a GPU of one more piece a turn, which is not timed.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    phases: Phases = field(default_factory=dict)

    def shares(self) -> Phases:
        """Share of each phase in their sum."""
        total = sum(self.phases.values())
        return {name: seconds / total for name, seconds in self.phases.items()} if total else {}


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of some numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of at least one number."""
        return cls(statistics.median(values), min(values), max(values))


@tuned_process()
def alternate(sides: Mapping[str, Side], repetitions: int, warm_up: int = 1) -> dict[str, Times]:
    """Give every side `repetitions` turns, A B A B ..., after `warm_up` rounds that do not count."""
    prepared = {name: side.prepare() for name, side in sides.items()}
    times = {name: Times() for name in sides}
    for repetition in range(warm_up + repetitions):
        for name, run in prepared.items():
            if repetition < warm_up:
                if not sides[name].slow:
                    run()
            else:
                _take_turn(run, times[name])
    return times


def clock() -> float:
    """Seconds, once a GPU that is in use has done what was asked of it."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def mark() -> float:
    """Seconds, between two phases of a piece of work.

    A GPU is waited for in pieces alone that are not timed: it would stand idle between the phases of a side that has
    some, and not of one that has none.
    """
    return clock() if _marks_wait.get() else time.perf_counter()


def _take_turn(run: Callable[[], Phases], times: Times) -> None:
    pieces: list[Phases] = []
    started, cpu_started = clock(), time.process_time()
    while not pieces or (time.perf_counter() - started < _TURN_SECONDS and len(pieces) < _TURN_MOST):
        pieces.append(run())
    times.wall.append((clock() - started) / len(pieces))
    times.cpu.append((time.process_time() - cpu_started) / len(pieces))
    if torch.cuda.is_initialized() and pieces[0]:  # its phases are those of a piece apart
        waited = _marks_wait.set(True)
        pieces = [run()]
        _marks_wait.reset(waited)
    for phases in pieces:
        for name, seconds in phases.items():
            times.phases[name] = times.phases.get(name, 0.0) + seconds


def ratios(rival: list[float], ours: list[float]) -> Spread:
    """How many times as long the rival took, a round each."""
    return Spread.of([theirs / mine for theirs, mine in zip(rival, ours, strict=True)])


def peak_memory(side: Side, threads: int) -> float:
    """Largest resident set, in MiB, of a fresh process that does the work; Python and its libraries count.

    The work is done twice, as some memory is first held then; once by a slow side.
    """
    # Not forked: threads of OpenMP do not live on in a fork, and wait for one another for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(_peak, side, threads).result()


@tuned_process()
def _peak(side: Side, threads: int) -> float:
    torch.set_num_threads(threads)
    run = side.prepare()
    for _ in range(1 if side.slow else 2):
        run()
    return peak_memory_mb()
