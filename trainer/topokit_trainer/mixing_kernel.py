"""The compiled mixing kernel, for float32 and float64 rows in main memory.

PyTorch's CSR and dense products move several times the bytes that mixing has to. This kernel reads each row once and
writes it once: it copies a block of columns of all rows into a scratch buffer that stays in the second-level cache, and
computes the new rows from there.

Importing this module imports numba, so `topokit_trainer.mixing` does it at first use.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import binding as llvm
from numpy.typing import NDArray

__all__ = ["Rows", "Unsigned", "block_columns", "compiled", "mix_rows"]

Values = NDArray[Any]
Unsigned = NDArray[np.uint64]
Rows = tuple[Values, int]  # a one-dimensional array, and how far apart in it two rows start

# With the rows being written, twice this has to fit into the second-level cache.
SCRATCH_BYTES = 1 << 18
# Rows of the scratch buffer must not all start at the same offset within a page: they would share cache sets, and
# stores would hold up loads that have nothing to do with them.
PADDING = 16
LINE = 64  # bytes in a cache line
# Waking another thread pays when it has so many values to read.
VALUES_PER_THREAD = 1 << 17
# Threads take a piece at a time, so that one that is held up (PyTorch's idle threads spin for a while) does less.
PIECES_PER_THREAD = 8

# Indices in compiled code are unsigned: a signed one may be negative, which NumPy counts from the end, and that case
# keeps LLVM from using vector instructions.
ONE, TWO, THREE, FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)

# Neighbours are added strictly one after the other and without fast-math: with reassociation and fused multiply-adds
# results would depend on the processor and on where blocks begin, and would differ from those of PyTorch's operations.
# Taking four neighbours at a time only saves loads and stores of the sum.


@numba.njit(nogil=True)
def _first_four(
    total: Any, s: Any, k: Any, i: Any, a: Any, wa: Any, b: Any, wb: Any, c: Any, wc: Any, d: Any, wd: Any
) -> None:
    for q in range(k):
        own = s[i + q]
        two = wa * (s[a + q] - own) + wb * (s[b + q] - own)
        total[q] = (two + wc * (s[c + q] - own)) + wd * (s[d + q] - own)


@numba.njit(nogil=True)
def _next_four(
    total: Any, s: Any, k: Any, i: Any, a: Any, wa: Any, b: Any, wb: Any, c: Any, wc: Any, d: Any, wd: Any
) -> None:
    for q in range(k):
        own = s[i + q]
        two = (total[q] + wa * (s[a + q] - own)) + wb * (s[b + q] - own)
        total[q] = (two + wc * (s[c + q] - own)) + wd * (s[d + q] - own)


@numba.njit(nogil=True)
def _first_two(total: Any, s: Any, k: Any, i: Any, a: Any, wa: Any, b: Any, wb: Any) -> None:
    for q in range(k):
        own = s[i + q]
        total[q] = wa * (s[a + q] - own) + wb * (s[b + q] - own)


@numba.njit(nogil=True)
def _next_two(total: Any, s: Any, k: Any, i: Any, a: Any, wa: Any, b: Any, wb: Any) -> None:
    for q in range(k):
        own = s[i + q]
        total[q] = (total[q] + wa * (s[a + q] - own)) + wb * (s[b + q] - own)


@numba.njit(nogil=True)
def _first_one(total: Any, s: Any, k: Any, i: Any, a: Any, wa: Any) -> None:
    for q in range(k):
        total[q] = wa * (s[a + q] - s[i + q])


@numba.njit(nogil=True)
def _next_one(total: Any, s: Any, k: Any, i: Any, a: Any, wa: Any) -> None:
    for q in range(k):
        total[q] = total[q] + wa * (s[a + q] - s[i + q])


@numba.njit(nogil=True)
def _copy(to: Any, i: Any, values: Any, j: Any, k: Any) -> None:
    for q in range(k):
        to[i + q] = values[j + q]


@numba.njit(nogil=True)
def _copy_sum(to: Any, i: Any, values: Any, j: Any, total: Any, k: Any) -> None:
    for q in range(k):
        to[i + q] = values[j + q] + total[q]


def _mix(  # compiled by _compiled
    x: Any,
    received: Any,
    out: Any,
    strides: Any,
    counts: Any,
    indptr: Any,
    index: Any,
    weight: Any,
    add: Any,
    piece: Any,
    s: Any,
    total: Any,
) -> None:
    rows, sources, block = counts
    first, last = piece
    pitch = block + np.uint64(PADDING)
    for start in range(first, last, block):
        k = min(block, last - start)
        for i in range(rows):
            _copy(s, i * pitch, x, i * strides[0] + start, k)
        for i in range(rows, sources):
            _copy(s, i * pitch, received, (i - rows) * strides[1] + start, k)
        for i in range(rows):
            own, e, end = i * pitch, indptr[i], indptr[i + ONE]
            if e == end:
                for q in range(k):
                    total[q] = 0
            elif end - e >= FOUR:
                a, b, c, d = index[e] * pitch, index[e + ONE] * pitch, index[e + TWO] * pitch, index[e + THREE] * pitch
                wa, wb, wc, wd = weight[e], weight[e + ONE], weight[e + TWO], weight[e + THREE]
                _first_four(total, s, k, own, a, wa, b, wb, c, wc, d, wd)
                e += FOUR
            elif end - e >= TWO:
                _first_two(total, s, k, own, index[e] * pitch, weight[e], index[e + ONE] * pitch, weight[e + ONE])
                e += TWO
            else:
                _first_one(total, s, k, own, index[e] * pitch, weight[e])
                e += ONE
            while end - e >= FOUR:
                a, b, c, d = index[e] * pitch, index[e + ONE] * pitch, index[e + TWO] * pitch, index[e + THREE] * pitch
                wa, wb, wc, wd = weight[e], weight[e + ONE], weight[e + TWO], weight[e + THREE]
                _next_four(total, s, k, own, a, wa, b, wb, c, wc, d, wd)
                e += FOUR
            if end - e >= TWO:
                _next_two(total, s, k, own, index[e] * pitch, weight[e], index[e + ONE] * pitch, weight[e + ONE])
                e += TWO
            if end > e:
                _next_one(total, s, k, own, index[e] * pitch, weight[e])
            if add:
                _copy_sum(out, i * strides[2] + start, s, own, total, k)
            else:
                _copy(out, i * strides[2] + start, total, np.uint64(0), k)


@lru_cache
def _compiled(dtype: str) -> Callable[..., None]:
    """Compile the kernel for ``"float32"`` or ``"float64"``, or load it from numba's cache on disk."""
    real, ints = f"{dtype}[::1]", "uint64[::1]"
    signature = (
        f"void({real}, {real}, {real}, UniTuple(uint64, 3), UniTuple(uint64, 3), {ints}, {ints}, {real}, boolean, "
        f"UniTuple(uint64, 2), {real}, {real})"
    )
    return compiled(_mix, signature, f"mix_{dtype}")


def compiled(function: Callable[..., None], signature: str, name: str) -> Callable[..., None]:
    """Compile a kernel that works without Python's lock, or load it from numba's cache on disk."""
    # One cache file for each kernel, number type and processor, because numba's index of several in one file is not
    # safe when ranks, or hosts that share a home directory, compile at the same time.
    processor = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    kernel = FunctionType(function.__code__, function.__globals__, function.__name__)
    kernel.__qualname__ = f"{name}_{zlib.crc32(processor.encode()):08x}"
    try:
        return numba.njit(signature, nogil=True, cache=True)(kernel)
    except Exception:  # nowhere to write, disk full, unreadable cache: compiling takes a second or two
        return numba.njit(signature, nogil=True)(kernel)


def block_columns(sources: int, itemsize: int) -> int:
    """Columns of a block, for which all source rows fit into the scratch buffer: a multiple of 64 from 128 to 1024.

    Examples
    --------
    >>> block_columns(64, 4), block_columns(10_000, 8)
    (1024, 128)
    """
    return min(1024, max(128, SCRATCH_BYTES // (max(sources, 1) * itemsize) // 64 * 64))


def _aligned(size: int, dtype: np.dtype[Any]) -> Values:
    """Make an array that starts on a cache line: vectors that straddle two lines cost a fifth of the speed."""
    memory = np.empty(size * dtype.itemsize + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    values: Values = memory[start : start + size * dtype.itemsize].view(dtype)
    return values


@lru_cache(maxsize=1)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="topokit-mixing")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # the threads stay behind in the parent


def mix_rows(
    x: Rows,
    received: Rows,
    out: Rows,
    shape: tuple[int, int, int],
    edges: tuple[Unsigned, Unsigned, Values],
    *,
    add: bool,
    threads: int,
) -> None:
    """Compute ``out_i = sum_j w_ij (x_j - x_i)``, plus ``x_i`` where `add` is set; `out` may then be `x` itself.

    Parameters
    ----------
    x, received, out : Rows
        Local rows, rows of other ranks, and where the results go: all float32 or all float64.
    shape : tuple of int
        Numbers of local rows, of received rows, and of columns.
    edges : tuple of ndarray
        Row pointers, neighbours and weights in compressed sparse row form; neighbours from the number of local rows
        on are received rows.
    add : bool
        Whether to add the row itself.
    threads : int
        How many threads to use at most.
    """
    rows, others, columns = shape
    sources = rows + others
    dtype = x[0].dtype
    kernel = _compiled(dtype.name)
    block = min(block_columns(sources, dtype.itemsize), -(-columns // 64) * 64)
    threads = max(1, min(threads, sources * columns // VALUES_PER_THREAD))
    size = -(-columns // (block * threads * PIECES_PER_THREAD)) * block if threads > 1 else columns
    pieces = deque(range(0, columns, max(size, 1)))
    strides, counts = (x[1], received[1], out[1]), (rows, sources, block)

    def work() -> None:
        scratch, total = _aligned(sources * (block + PADDING), dtype), _aligned(block, dtype)
        while True:
            try:
                first = pieces.popleft()
            except IndexError:
                return
            piece = (first, min(first + size, columns))
            kernel(x[0], received[0], out[0], strides, counts, *edges, add, piece, scratch, total)

    others_at_work = [_pool(threads - 1).submit(work) for _ in range(threads - 1)] if threads > 1 else []
    try:
        work()
    finally:
        wait(others_at_work)
    for done in others_at_work:
        done.result()
