"""The loops of native.cpp: compiled once a machine, kept in the user's cache, shared by the CPU threads of torch."""

import ctypes
import functools
import hashlib
import itertools
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from mmrns.errors import UserError
from mmrns.files import atomic_path

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("native.cpp")
# The reordering of sums that vector instructions need, and nothing that would lose a NaN.
_FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-march=native"]
_FLAGS += [f"-f{name}" for name in ("no-math-errno", "no-trapping-math", "no-signed-zeros", "associative-math")]
# A range of less work than this, in multiplications, costs more to hand to a thread than to do.
_WORK_OF_A_THREAD = 1 << 20


def usable(*tensors: Tensor) -> bool:
    """Whether the compiled loops take these tensors: single precision, on a CPU for which they could be compiled."""
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors) and library() is not None


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where there is no C++ compiler or MMRNS_NATIVE=0 forbids them."""
    if os.environ.get("MMRNS_NATIVE") == "0":
        return None
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        _log.warning("no C++ compiler found: scoring takes its slower way through torch")
        return None
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        _log.warning(
            "%s cannot build the scoring loops: scoring takes its slower way through torch (%s)", compiler, said[-1]
        )
        return None


def _compiled(compiler: str) -> Path:
    """The shared library of this source, compiler and processor, compiled if the cache lacks it."""
    identity = "\n".join([_SOURCE.read_text(encoding="utf-8"), compiler, *_FLAGS, _processor()])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmrns"
    built = cache / f"native-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if not built.is_file():
        try:
            _compile(compiler, built)
        except UserError:  # a home that cannot be written: compiled for this process alone
            built = Path(tempfile.mkdtemp(prefix="mmrns-")) / built.name
            _compile(compiler, built)
    return built


def _compile(compiler: str, into: Path) -> None:
    with atomic_path(into) as temporary:
        command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(temporary)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


def _processor() -> str:
    """What -march=native means here: a cache may be shared by machines of different processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    except OSError:
        return platform.machine() + platform.processor()


def every(name: str, queries: Tensor, table: Tensor) -> Tensor:
    """Compare (B, q) queries with every row of a table (N, w): (B, N)."""
    queries, table = queries.contiguous(), table.contiguous()
    out = torch.empty(len(queries), len(table))
    sizes = len(queries), len(table), table.shape[1]
    ranges = _ranges(len(table), len(queries) * table.numel())
    _share(f"{name}_every", ranges, lambda part: (queries, table, out, *sizes))
    return out


def every_gradient(name: str, to_out: Tensor, out: Tensor, queries: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients to the queries (B, q) and to the table (N, w) of `every`."""
    ranges = _ranges(len(table), len(queries) * table.numel())
    return _gradient(name, ranges, to_out, out, queries, table, None, None, len(table))


class Grouped:
    """(B, n) rows of a table, grouped by row, so that each row is read once for all queries that it meets."""

    def __init__(self, rows: Tensor, table_rows: int, width: int) -> None:
        rows = rows.contiguous()
        if rows.numel() and not (rows.min() >= 0 and rows.max() < table_rows):
            raise IndexError(f"rows {int(rows.min())} to {int(rows.max())} of a table of {table_rows}")
        self.shape = rows.shape
        self.offsets, self.order = rows.new_empty(table_rows + 1), rows.new_empty(rows.numel())
        _call("group", rows, rows.numel(), self.offsets, self.order, table_rows)
        self.ranges = _ranges(table_rows, rows.numel() * width, self.offsets)

    def compare(self, name: str, queries: Tensor, table: Tensor) -> Tensor:
        """Compare (B, q) queries with their rows of a table (N, w): (B, n)."""
        queries, table = queries.contiguous(), table.contiguous()
        out = torch.empty(self.shape)
        sizes = self.shape[1], table.shape[1]
        _share(f"{name}_pairs", self.ranges, lambda part: (queries, table, out, self.offsets, self.order, *sizes))
        return out

    def gradient(self, name: str, to_out: Tensor, out: Tensor, queries: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients to the queries (B, q) and to the table (N, w) of `compare`."""
        return _gradient(
            name, self.ranges, to_out, out, queries, table, self.offsets, self.order, max(1, self.shape[1])
        )


def _gradient(
    name: str,
    ranges: list[tuple[int, int]],
    to_out: Tensor,
    out: Tensor,
    queries: Tensor,
    table: Tensor,
    offsets: Tensor | None,
    order: Tensor | None,
    each: int,
) -> tuple[Tensor, Tensor]:
    to_out, queries, table = to_out.contiguous(), queries.contiguous(), table.contiguous()
    # A range has a sum of its own for the queries; they are added in order, so that equal threads give equal bits.
    to_queries = torch.zeros(len(ranges), *queries.shape)
    to_table = torch.empty_like(table)
    sizes = len(queries), each, table.shape[1]
    _share(
        f"{name}_gradient",
        ranges,
        lambda part: (to_out, out, queries, table, to_queries[part], to_table, offsets, order, *sizes),
    )
    return to_queries.sum(0), to_table


def _ranges(rows: int, work: int, offsets: Tensor | None = None) -> list[tuple[int, int]]:
    """Split rows into one range a thread, of equal numbers of pairs where offsets (rows + 1) count them."""
    parts = max(1, min(torch.get_num_threads(), work // _WORK_OF_A_THREAD))
    cuts = [rows * part // parts for part in range(parts + 1)]
    if offsets is not None and parts > 1:
        pairs = int(offsets[-1])
        inner = torch.tensor([pairs * part // parts for part in range(1, parts)])
        cuts[1:-1] = torch.searchsorted(offsets, inner).tolist()
    return list(itertools.pairwise(cuts))


def _share(
    function: str, ranges: list[tuple[int, int]], arguments: Callable[[int], tuple[Tensor | int | None, ...]]
) -> None:
    """Call a loop for every range, the first here and each other in a thread; ctypes lets go of the GIL meanwhile."""
    others = range(1, len(ranges))
    jobs = [_threads(len(others)).submit(_call, function, *arguments(part), *ranges[part]) for part in others]
    _call(function, *arguments(0), *ranges[0])
    for job in jobs:
        job.result()


def _call(function: str, *arguments: Tensor | int | None) -> None:
    loaded = library()
    assert loaded is not None
    getattr(loaded, function)(*(ctypes.c_int64(a) if isinstance(a, int) else _pointer(a) for a in arguments))


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


@functools.cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, thread_name_prefix="mmrns-scoring")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process has none of its parent's threads
