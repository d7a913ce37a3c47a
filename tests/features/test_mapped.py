"""Rows of a memory map that the system is asked for ahead of being read."""

import mmap

import numpy as np
import pytest

from mmrns.features.mapped import request_rows


class Requests:
    """Stands where a map keeps its mmap, and remembers what was asked of it."""

    def __init__(self):
        self.ranges = []

    def madvise(self, advice, start, length):
        assert advice == mmap.MADV_WILLNEED
        self.ranges.append((start, start + length))


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="the system takes no advice on memory maps")
@pytest.mark.parametrize("offset", [0, 100, 3 * mmap.ALLOCATIONGRANULARITY + 24])
@pytest.mark.parametrize("rows", [[], [0], [39, 7, 7, 0, 21]])
def test_whole_pages_that_hold_the_rows_are_asked_for(tmp_path, offset, rows):
    file = tmp_path / "map"
    numbers = np.arange(40 * 3 * 700, dtype=np.float16)
    file.write_bytes(bytes(offset) + numbers.tobytes())
    array = np.memmap(file, dtype=np.float16, mode="r", offset=offset, shape=(40, 3, 700))
    request_rows(array, np.array(rows, dtype=np.int64))  # the system itself takes it
    start_of_map = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    array._mmap = requests = Requests()
    request_rows(array, np.array(rows, dtype=np.int64))
    assert len(requests.ranges) == len(set(rows))
    size = 3 * 700 * 2
    for row, (start, end) in zip(sorted(set(rows)), requests.ranges, strict=True):
        assert start % mmap.PAGESIZE == 0
        assert start <= offset - start_of_map + row * size < start + mmap.PAGESIZE
        assert end == offset - start_of_map + (row + 1) * size


def test_an_array_in_memory_needs_no_request():
    request_rows(np.zeros((3, 2)), np.array([0, 2]))
