"""Memory of the process: settings that make CPU training faster and change no result, and its largest size."""

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

# mallopt's parameter numbers in glibc's malloc.h, and the largest mmap threshold it takes (32 MiB).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KEPT = 2**30


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
