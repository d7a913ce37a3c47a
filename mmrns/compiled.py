"""Loops in C++: compiled once a machine, kept in the user's cache, shared by the CPU threads of torch."""

import ctypes
import functools
import hashlib
import itertools
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmrns.errors import UserError
from mmrns.files import atomic_path

_log = logging.getLogger(__name__)

# The reordering of sums that vector instructions need, and nothing that would lose a NaN.
_FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-march=native"]
_FLAGS += [f"-f{name}" for name in ("no-math-errno", "no-trapping-math", "no-signed-zeros", "associative-math")]
_TEAM = Path(__file__).with_name("team.cpp")
_WORK = ctypes.CFUNCTYPE(None)
_PROCESS = os.getpid()
# A range of less work than this, in multiplications, costs more to hand to a thread than to do.
_WORK_OF_A_THREAD = 1 << 20

Argument = Tensor | int | float | None
"""Of a loop: a pointer to a tensor's numbers or null, an int64_t, or a float."""


@dataclass(frozen=True)
class Loops:
    """The functions of one C++ file, without a header but the standard library's.

    Attributes:
        source: the file. Its functions work on a range, first and last being their last two arguments, so that each
            thread can be given one; they write nothing that another range writes.
    """

    source: Path

    def usable(self, *tensors: Tensor, dtype: torch.dtype = torch.float32) -> bool:
        """Whether the loops take these tensors: of `dtype`, on a CPU for which they could be compiled."""
        return all(t.dtype == dtype and t.device.type == "cpu" for t in tensors) and self.library() is not None

    def library(self) -> ctypes.CDLL | None:
        """The compiled loops, or None where there is no C++ compiler or MMRNS_NATIVE=0 forbids them."""
        return library(self.source)

    def call(self, function: str, *arguments: Argument) -> None:
        """Call one function. Tensors must be contiguous, and stay alive until it returns."""
        loaded = self.library()
        assert loaded is not None
        getattr(loaded, function)(*map(_argument, arguments))

    def share(
        self, function: str, ranges: list[tuple[int, int]], arguments: Callable[[int], tuple[Argument, ...]]
    ) -> None:
        """Call a loop for every range, each in a thread of torch's or, without OpenMP, of our own.

        ctypes lets go of the GIL meanwhile.

        Args:
            arguments: number of a range -> what stands before its first and last.
        """
        given = [(*arguments(part), *bounds) for part, bounds in enumerate(ranges)]
        if len(given) == 1:
            self.call(function, *given[0])
            return
        team = _team()
        if team is None:
            jobs = [_threads(len(given) - 1).submit(self.call, function, *part) for part in given[1:]]
            self.call(function, *given[0])
            for job in jobs:
                job.result()
            return
        loop = getattr(self.library(), function)
        # Python raises an interrupt between two steps of Python's own: in a function of Python's that C calls, where it
        # would be lost and the range unwritten. A partial has no such steps; it is raised when the team is done.
        work = [_WORK(functools.partial(loop, *map(_argument, part))) for part in given]
        team((_WORK * len(work))(*work), ctypes.c_int64(len(work)))


def split(rows: int, work: int, offsets: Tensor | None = None) -> list[tuple[int, int]]:
    """Split rows into one range a thread, of equal numbers of pairs where offsets (rows + 1) count them.

    Args:
        work: multiplications of all rows together.
    """
    parts = max(1, min(torch.get_num_threads(), work // _WORK_OF_A_THREAD))
    cuts = [rows * part // parts for part in range(parts + 1)]
    if offsets is not None and parts > 1:
        pairs = int(offsets[-1])
        inner = torch.tensor([pairs * part // parts for part in range(1, parts)])
        cuts[1:-1] = torch.searchsorted(offsets, inner).tolist()
    return list(itertools.pairwise(cuts))


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """The loops of a file, or None where there is no C++ compiler or MMRNS_NATIVE=0 forbids them."""
    if os.environ.get("MMRNS_NATIVE") == "0":
        return None
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    name = f"{source.parent.name}/{source.name}"
    if compiler is None:
        _log.warning("no C++ compiler found: a slower way than %s is taken", name)
        return None
    try:
        return ctypes.CDLL(str(_compiled(shlex.split(compiler), source)))
    except (OSError, UserError, ValueError, subprocess.SubprocessError) as error:
        said = ((getattr(error, "stderr", None) or "").strip() or str(error)).splitlines()
        # Apple's compiler has no OpenMP: no reason to warn every run.
        level = logging.INFO if source == _TEAM else logging.WARNING
        _log.log(level, "%s cannot build %s, and a slower way is taken (%s)", compiler, name, said[-1])
        return None


@functools.cache
def _team() -> Callable[..., None] | None:
    """The function of team.cpp, or None where it cannot be had: then there are threads of our own."""
    loaded = library(_TEAM) if os.getpid() == _PROCESS else None
    return None if loaded is None else loaded.team


def _compiled(compiler: list[str], source: Path) -> Path:
    """The shared library of a source, compiler (a command's words) and processor, compiled if the cache lacks it."""
    text = source.read_text(encoding="utf-8")
    flags = [*_FLAGS, *(["-fopenmp"] if "#pragma omp" in text else [])]
    identity = "\n".join([text, *compiler, *flags, _processor()])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmrns"
    built = cache / f"{source.parent.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if not built.is_file():
        try:
            _compile([*compiler, *flags], source, built)
        except UserError:  # a home that cannot be written: compiled for this process alone
            built = Path(tempfile.mkdtemp(prefix="mmrns-")) / built.name
            _compile([*compiler, *flags], source, built)
    return built


def _compile(command: list[str], source: Path, into: Path) -> None:
    with atomic_path(into) as temporary:
        subprocess.run(
            [*command, str(source), "-o", str(temporary)], check=True, capture_output=True, text=True, timeout=120
        )


def _processor() -> str:
    """What -march=native means here: a cache may be shared by machines of different processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    except OSError:
        return platform.machine() + platform.processor()


def _argument(value: Argument) -> ctypes.c_int64 | ctypes.c_float | ctypes.c_void_p:
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if isinstance(value, float):
        return ctypes.c_float(value)
    return ctypes.c_void_p(None if value is None else value.data_ptr())


# Where there is no OpenMP. With it these would contend with torch's threads, which stay awake between operations.
@functools.cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, thread_name_prefix="mmrns-loops")


if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads, and OpenMP would wait for them.
    os.register_at_fork(after_in_child=_threads.cache_clear)
    os.register_at_fork(after_in_child=_team.cache_clear)
