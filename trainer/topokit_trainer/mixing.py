"""Mixing the rows on this rank: x_i <- x_i + sum_j w_ij (x_j - x_i).

The difference form keeps the mean where it is: what i takes from j is, up to the last bit, what j takes from i, and
rounding errors shrink together with the disagreement. The plain product W x rounds the values themselves in every
round, and the mean drifts.

There are four ways to compute it:

- a compiled kernel for float32 and float64 in main memory (`topokit_trainer.mixing_kernel`);
- a compiled kernel on a GPU (`topokit_trainer.mixing_triton`);
- PyTorch operations, one neighbour of every row at a time, for everything else. On values of one type it gives the
  same bits as the kernel in main memory;
- where most rows are neighbours of most rows, a product of W - I with the rows less their first row, in blocks.

In the first three, a row's result depends on that row, its neighbours and their order alone, so it is the same bit for
bit however rows are spread over ranks. A dense product gives no such promise: there results agree up to rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from topokit.errors import InputError
from topokit.matrix import IntArray

__all__ = ["MixingOperator", "exact_products"]

# Values in a scratch tensor of the PyTorch paths: in main memory what caches hold (a product brings more work for each
# value, and needs fewer, larger blocks), else enough to keep a GPU busy.
SPARSE_SCRATCH, DENSE_SCRATCH, DEVICE_SCRATCH = 1 << 18, 1 << 21, 1 << 24
GPU_SCRATCH = 1 << 22  # of the GPU's kernel: 16 MB of changes, still in its caches when they are added

# The dense product is used where the average source row has so many readers, plus so many for each local row. Measured
# with two threads, in units of a copy of the rows: 0.6 + 0.1 a reader for the kernel, 2.3 + 0.018 a local row for the
# product. It has to win clearly, because it depends on how rows are spread and suffers more from other programs.
DENSE_READERS, DENSE_READERS_PER_ROW = 32, 0.2


class MixingOperator:
    """One round of gossip for the rows on this rank, in compressed sparse row form without the diagonal.

    Self weights are implied: rows of a mixing matrix sum to one.

    Parameters
    ----------
    rows : int
        Number of local rows.
    indptr : array_like of int, shape (rows + 1,)
        Neighbours of row i are entries ``indptr[i]`` to ``indptr[i + 1] - 1``.
    index : array_like of int, shape (nnz,)
        Neighbours: below `rows` a local row, else row ``index - rows`` of what is received from other ranks. Sorted by
        node within a row, they make results independent of how nodes are spread over ranks.
    weight : array_like of float, shape (nnz,)
        Their weights.

    Attributes
    ----------
    rows : int
        Number of local rows.
    received_rows : int
        Number of received rows that are needed.
    neighbours : int
        Number of entries.
    dense : bool
        Whether a dense product is used.

    Raises
    ------
    InputError
        If the arrays do not fit together, a row is its own neighbour, or a weight is not finite.

    Examples
    --------
    Two local nodes that average with one another:

    >>> x = torch.tensor([[0.0, 2.0], [1.0, 4.0]])
    >>> MixingOperator(2, [0, 1, 2], [1, 0], [0.5, 0.5]).mix_(x)
    tensor([[0.5000, 3.0000],
            [0.5000, 3.0000]])

    One local node that takes a quarter of what it receives:

    >>> MixingOperator(1, [0, 1], [1], [0.25]).mix_(torch.zeros(1, 2), torch.tensor([[4.0, 8.0]]))
    tensor([[1., 2.]])
    """

    def __init__(self, rows: int, indptr: ArrayLike, index: ArrayLike, weight: ArrayLike) -> None:
        pointers, targets = np.asarray(indptr, dtype=np.int64), np.asarray(index, dtype=np.int64)
        weights = np.asarray(weight, dtype=np.float64)
        degrees = np.diff(pointers)
        if pointers.shape != (rows + 1,) or pointers[0] != 0 or pointers[-1] != targets.size or np.any(degrees < 0):
            raise InputError(
                f"indptr must hold {rows + 1} ascending numbers from 0 to the number of neighbours ({targets.size})"
            )
        if targets.shape != weights.shape or targets.ndim != 1:
            raise InputError(f"index and weight must be of one length, got {targets.shape} and {weights.shape}")
        owner = np.repeat(np.arange(rows), degrees)
        if bad := np.flatnonzero((targets < 0) | (targets == owner)).tolist():
            k = bad[0]
            raise InputError(
                f"index[{k}] of row {owner[k]} is {targets[k]}; neighbours are other rows, numbered from 0, and self "
                "weights are left out"
            )
        if bad := np.flatnonzero(~np.isfinite(weights)).tolist():
            raise InputError(f"weight[{bad[0]}] of row {owner[bad[0]]} is {weights[bad[0]]}; weights must be finite")
        self.rows = rows
        self.neighbours = int(targets.size)
        self.received_rows = max(int(targets.max(initial=-1)) + 1 - rows, 0)
        sources = rows + self.received_rows
        self.dense = self.neighbours > sources * (DENSE_READERS + DENSE_READERS_PER_ROW * rows)
        self._owner, self._degrees = owner, degrees
        self._indptr, self._index, self._weight = pointers, targets, weights
        self._kept: dict[Any, Any] = {}

    def restricted(self, rows: IntArray) -> MixingOperator:
        """Give the operator on some of the rows, numbered anew, which must need no other local ones.

        Parameters
        ----------
        rows : ndarray of int64
            Each once.

        Raises
        ------
        InputError
            If one of the rows has a neighbour among those left out.

        Examples
        --------
        >>> pair = MixingOperator(3, [0, 1, 1, 2], [2, 0], [0.5, 0.5]).restricted(np.array([0, 2]))
        >>> pair.mix_(torch.tensor([[0.0], [1.0]]))
        tensor([[0.5000],
                [0.5000]])
        """
        degrees = self._degrees[rows]
        ends = np.cumsum(degrees)
        entries = np.repeat(self._indptr[rows] - ends + degrees, degrees) + np.arange(degrees.sum())
        place = np.full(self.rows + self.received_rows, -1)
        place[rows] = np.arange(rows.size)
        place[self.rows :] = rows.size + np.arange(self.received_rows)
        return MixingOperator(
            rows.size, np.concatenate(([0], ends)), place[self._index[entries]], self._weight[entries]
        )

    @torch.no_grad()
    def mix_(self, x: Tensor, received: Tensor | None = None) -> Tensor:
        """Mix in place, and return `x`.

        Parameters
        ----------
        x : Tensor, shape (rows, columns)
            Rows of the local nodes. Sums are kept in float32 where the rows are narrower than that.
        received : Tensor, shape (received_rows, columns), optional
            Rows of other nodes, of the same type.

        Raises
        ------
        InputError
            If a tensor does not fit the operator.
        """
        self._check(x, received, None)
        self._apply(x.detach(), received, x.detach(), add=True)
        return x

    @torch.no_grad()
    def correction(self, x: Tensor, received: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Compute ``sum_j w_ij (x_j - x_i)`` for each row and leave `x` alone.

        Adding it with ``x.add_`` gives the same bits as `mix_`.

        Parameters
        ----------
        x, received
            As for `mix_`.
        out : Tensor, shape (rows, columns), optional
            Where to put the result: of the type of `x`, or float32 where `x` is narrower.

        Returns
        -------
        Tensor, shape (rows, columns)

        Raises
        ------
        InputError
            If a tensor does not fit the operator.
        """
        self._check(x, received, out)
        if out is None:
            out = torch.empty(x.shape, dtype=_sum_type(x.dtype), device=x.device)
        self._apply(x.detach(), received, out.detach(), add=False)
        return out

    def _check(self, x: Tensor, received: Tensor | None, out: Tensor | None) -> None:
        if x.ndim != 2 or len(x) != self.rows:
            raise InputError(
                f"x has shape {tuple(x.shape)}, but it must be ({self.rows}, columns): a row for each node"
            )
        if not x.is_floating_point():
            raise InputError(f"x is of type {x.dtype}; only floating point rows can be mixed")
        if received is None:
            if self.received_rows:
                raise InputError(f"rows of {self.received_rows} other nodes are needed as received, got none")
        elif received.ndim != 2 or len(received) < self.received_rows or received.shape[1] != x.shape[1]:
            raise InputError(
                f"received has shape {tuple(received.shape)}, but it must be ({self.received_rows}, {x.shape[1]}): the "
                "rows of other nodes, as wide as x"
            )
        elif (received.dtype, received.device) != (x.dtype, x.device):
            raise InputError(
                f"received is {received.dtype} on {received.device}, but x is {x.dtype} on {x.device}; both must agree"
            )
        if out is not None and (out.shape, out.dtype, out.device) != (x.shape, _sum_type(x.dtype), x.device):
            raise InputError(
                f"out is {tuple(out.shape)}, {out.dtype} on {out.device}, but it must be {tuple(x.shape)}, "
                f"{_sum_type(x.dtype)} on {x.device}"
            )

    def _apply(self, x: Tensor, received: Tensor | None, out: Tensor, *, add: bool) -> None:
        if x.numel() == 0:
            return
        if received is None:
            received = x[:0]
        if self.dense and exact_products():
            self._in_blocks(x, received, out, dense=True, add=add)
        elif _flat(x) and _flat(received) and _flat(out) and (mix_rows := _compiled_kernel()):
            mix_rows(
                *(_as_rows(t) for t in (x, received, out)),
                (self.rows, len(received), x.shape[1]),
                self._edges(x.dtype),
                add=add,
                threads=torch.get_num_threads(),
            )
            if not out.is_inference():
                torch.autograd.graph.increment_version(out)  # PyTorch has not seen the change
        elif x.is_cuda and self._on_gpu(x, received, out, add=add):
            pass
        else:
            self._in_blocks(x, received, out, dense=False, add=add)

    def _on_gpu(self, x: Tensor, received: Tensor, out: Tensor, *, add: bool) -> bool:
        """Mix with the GPU's kernel, a block of columns at a time; say whether it could be done."""
        if (
            x.stride(1) != 1
            or (len(received) and received.stride(1) != 1)
            or (mix_columns := _gpu_kernel(x.device)) is None
        ):
            return False
        kind = _sum_type(x.dtype)
        key = ("gpu", kind, x.device)
        if key not in self._kept:
            arrays = self._indptr, self._index, self._weight
            pointers, index, weight = (torch.from_numpy(np.ascontiguousarray(a)).to(x.device) for a in arrays)
            self._kept[key] = pointers, index, weight.to(kind)
        if not add and out.stride(1) == 1:
            mix_columns(x, received, out, self._kept[key])
            return True
        block = max(GPU_SCRATCH // self.rows, 1 << 12)
        scratch = torch.empty((self.rows, min(block, x.shape[1])), dtype=kind, device=x.device)
        for first in range(0, x.shape[1], block):
            columns = slice(first, min(first + block, x.shape[1]))
            change = scratch[:, : columns.stop - first]
            mix_columns(x[:, columns], received[:, columns], change, self._kept[key])
            if add:
                x[:, columns].add_(change)
            else:
                out[:, columns].copy_(change)
        return True

    def _in_blocks(self, x: Tensor, received: Tensor, out: Tensor, *, dense: bool, add: bool) -> None:
        """Mix with PyTorch operations, a block of columns at a time."""
        sources, kind = self.rows + len(received), _sum_type(x.dtype)
        budget = DEVICE_SCRATCH if x.device.type != "cpu" else DENSE_SCRATCH if dense else SPARSE_SCRATCH
        block = max(budget // sources, 256)
        scratch = torch.empty(sources * min(block, x.shape[1]), dtype=kind, device=x.device)
        for first in range(0, x.shape[1], block):
            columns = slice(first, min(first + block, x.shape[1]))
            rows, others = x[:, columns], received[:, columns]
            values = scratch[: sources * rows.shape[1]].view(sources, -1)
            if dense:
                # What the rows have in common must not be rounded in the product.
                common = rows[0].to(kind)
                torch.sub(rows, common, out=values[: self.rows])
                torch.sub(others, common, out=values[self.rows :])
                change = self._dense_change(values)
            else:
                values[: self.rows].copy_(rows)
                values[self.rows :].copy_(others)
                change = self._sparse_change(values)
            if add:
                rows.add_(change)
            else:
                out[:, columns].copy_(change)

    def _sparse_change(self, values: Tensor) -> Tensor:
        """Sum over the first neighbours of all rows, then the second ones, and so on: the order of the kernel."""
        order, inverse, steps = self._steps(values.dtype, values.device)
        own = values[: self.rows] if order is None else values.index_select(0, order)
        total = torch.zeros_like(own)
        buffer = torch.empty_like(own)
        for index, weight in steps:
            count = len(index)
            term = buffer[:count]
            torch.index_select(values, 0, index, out=term)
            # Separate operations: a fused multiply-add would round differently from the kernel.
            term.sub_(own[:count]).mul_(weight)
            total[:count].add_(term)
        return total if inverse is None else total.index_select(0, inverse)

    def _dense_change(self, values: Tensor) -> Tensor:
        change = values.new_empty((self.rows, values.shape[1]))
        # With out= because autocast would otherwise do the product in half precision.
        return torch.mm(self._dense_matrix(values.dtype, values.device, len(values)), values, out=change)

    def _edges(self, dtype: torch.dtype) -> Any:
        if dtype not in self._kept:
            weight = self._weight.astype(np.float32 if dtype == torch.float32 else np.float64)
            self._kept[dtype] = (self._indptr.astype(np.uint64), self._index.astype(np.uint64), weight)
        return self._kept[dtype]

    def _steps(
        self, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor | None, Tensor | None, list[tuple[Tensor, Tensor]]]:
        """Give the k-th neighbours of all rows that have so many, for each k.

        Rows are ordered by degree, so that those that have a k-th neighbour come first; the order and its inverse are
        None where no row has to move.
        """
        key = ("steps", dtype, device)
        if key not in self._kept:
            order = np.argsort(-self._degrees, kind="stable")
            steps = []
            for k in range(int(self._degrees.max(initial=0))):
                entries = self._indptr[order[self._degrees[order] > k]] + k
                index = torch.from_numpy(self._index[entries]).to(device)
                weight = torch.from_numpy(self._weight[entries]).to(dtype).unsqueeze(1).to(device)
                steps.append((index, weight))
            moved = bool(np.any(order != np.arange(self.rows)))
            to, back = (torch.from_numpy(o).to(device) for o in (order, np.argsort(order)))
            self._kept[key] = (to if moved else None, back if moved else None, steps)
        kept: tuple[Tensor | None, Tensor | None, list[tuple[Tensor, Tensor]]] = self._kept[key]
        return kept

    def _dense_matrix(self, dtype: torch.dtype, device: torch.device, sources: int) -> Tensor:
        key = ("dense", dtype, device, sources)
        if key not in self._kept:
            matrix = np.zeros((self.rows, sources))
            np.add.at(matrix, (self._owner, self._index), self._weight)
            matrix[np.arange(self.rows), np.arange(self.rows)] = -matrix.sum(axis=1)
            self._kept[key] = torch.from_numpy(matrix).to(dtype).to(device)
        kept: Tensor = self._kept[key]
        return kept


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize < 4 else dtype


def _flat(tensor: Tensor) -> bool:
    """Whether the compiled kernel can work on the tensor: contiguous rows, at any distance, in main memory."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype in (torch.float32, torch.float64)
        and tensor.stride(1) == 1
        and (len(tensor) < 2 or tensor.stride(0) >= tensor.shape[1])
    )


def _as_rows(tensor: Tensor) -> tuple[Any, int]:
    stride = tensor.stride(0)
    span = (len(tensor) - 1) * stride + tensor.shape[1] if len(tensor) else 0
    return tensor.as_strided((span,), (1,)).numpy(), stride


def exact_products() -> bool:
    """Whether products of float32 matrices are computed in float32: TensorFloat-32 or bfloat16 would not do."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # the setting was made in a newer way that this function cannot express
        return False


@lru_cache(maxsize=1)
def _compiled_kernel() -> Callable[..., None] | None:
    try:
        from topokit_trainer.mixing_kernel import mix_rows
    except ImportError as error:
        warnings.warn(
            f"mixing on the CPU will take several times longer, because numba cannot be imported ({error}); "
            "pip install 'topokit[train]' brings it",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return mix_rows


@lru_cache(maxsize=8)
def _gpu_kernel(device: torch.device) -> Callable[..., None] | None:
    """Give the kernel where it can be compiled and agrees with PyTorch's operations on a trial."""
    try:
        from topokit_trainer.mixing_triton import mix_columns

        generator = torch.Generator().manual_seed(0)
        values = torch.randn((5, 1500), generator=generator, dtype=torch.float64).to(device)
        trial = MixingOperator(3, [0, 2, 2, 4], [1, 3, 0, 4], [0.25, 0.5, 0.125, 0.375])
        pointers, index, weight = (torch.from_numpy(a).to(device) for a in (trial._indptr, trial._index, trial._weight))
        expected, found = torch.empty_like(values[:3]), torch.full_like(values[:3], float("nan"))
        trial._in_blocks(values[:3], values[3:], expected, dense=False, add=False)
        mix_columns(values[:3], values[3:], found, (pointers, index, weight))
        difference = float((found - expected).abs().max())
        obstacle = None if difference < 1e-12 else f"its results differ by {difference:.1e}"
    except Exception as error:  # a compiler can fail in any way; PyTorch's operations remain
        obstacle = (str(error) or type(error).__name__).splitlines()[0]
    if obstacle is not None:
        warnings.warn(
            f"mixing on {device} will take several times longer, because Triton cannot be used ({obstacle})",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return mix_columns
