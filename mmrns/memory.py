"""Memory of the process: settings that make CPU training faster and change no result, and its largest size."""

import contextlib
import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from torch import Tensor

# mallopt's parameter numbers in glibc's malloc.h, and the largest mmap threshold it takes (32 MiB).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KEPT = 2**30
_HUGE_PAGE = 2 << 20


@contextlib.contextmanager
def tuned_process() -> Iterator[None]:
    """Keep freed memory for the next step, and let numbers too small to be normal become zero. Also a decorator.

    By default glibc gives every large tensor back to the system when it is freed, so each step pays for fresh pages
    again: about half of a uniform step. That setting stays, and costs nothing but memory that is reused. Denormals,
    which Adam's moments of untouched rows decay into, are tens of times slower than zeros; they are themselves again
    at the end. Where there is no glibc, only denormals are dealt with.
    """
    _keep_freed_memory()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def peak_memory_mb() -> float:
    """Largest resident set of this process so far, in MiB; on a GPU, the largest allocation there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if sys.platform.startswith("linux"):
        # Not getrusage's: a process inherits that from the one that started it, however large that was.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
            return round(int(found[1]) / 2**10, 1)
    memory = psutil.Process().memory_info()
    return round(getattr(memory, "peak_wset", memory.rss) / 2**20, 1)


def mapped_bytes() -> int:
    """Pages of files that this process has mapped and in memory now, libraries included; 0 where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[2]) * mmap.PAGESIZE
    except OSError:
        return 0


def huge_pages(tensor: Tensor) -> Tensor:
    """The tensor, its memory laid out in pages of 2 MiB where the system has them. To be called before it is filled.

    Rows of a table are read at random. In pages of 4 KiB nearly every row of a table of a gigabyte costs a walk through
    the page tables, in pages of 2 MiB few do; and filling it takes a few hundred page faults, not a few hundred
    thousand. Numbers and allocation stay as they are; small tensors, and those on other devices, are left alone.
    """
    if tensor.device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return tensor
    start = -(-tensor.data_ptr() // _HUGE_PAGE) * _HUGE_PAGE
    length = (tensor.data_ptr() + tensor.nbytes) // _HUGE_PAGE * _HUGE_PAGE - start
    if length > 0:
        # A kernel without them says so, and nothing is lost.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    return tensor


def _keep_freed_memory() -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
    mallopt(_M_TOP_PAD, 64 * 2**20)
