"""The kernel that mixes rows on a GPU: every row and its neighbours are read once, and what changes is written once.

PyTorch's own operations go over memory some ten times for each neighbour. Triton comes with PyTorch's CUDA builds;
where it is missing, or what it compiles does not agree with PyTorch's operations, those are used.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["mix_columns"]

BLOCK = 1024  # columns of a row in one program


@triton.jit  # type: ignore[untyped-decorator]
def _change_of_rows(  # type: ignore[no-untyped-def]
    x,
    x_stride,
    received,
    received_stride,
    out,
    out_stride,
    indptr,
    index,
    weight,
    rows,
    columns,
    KIND: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0).to(tl.int64) * WIDTH + tl.arange(0, WIDTH)
    inside = column < columns
    own = tl.load(x + row * x_stride + column, mask=inside, other=0.0).to(KIND)
    total = tl.zeros((WIDTH,), dtype=KIND)
    for entry in range(tl.load(indptr + row), tl.load(indptr + row + 1)):
        neighbour = tl.load(index + entry)
        if neighbour < rows:
            value = tl.load(x + neighbour * x_stride + column, mask=inside, other=0.0)
        else:
            value = tl.load(received + (neighbour - rows) * received_stride + column, mask=inside, other=0.0)
        total += tl.load(weight + entry) * (value.to(KIND) - own)
    tl.store(out + row * out_stride + column, total, mask=inside)


def mix_columns(x: Tensor, received: Tensor, out: Tensor, edges: tuple[Tensor, Tensor, Tensor]) -> None:
    """Compute ``out_i = sum_j w_ij (x_j - x_i)``.

    Parameters
    ----------
    x : Tensor, shape (rows, columns)
        Local rows.
    received : Tensor, shape (others, columns)
        Rows of other ranks; may be empty.
    out : Tensor of float32 or float64, shape (rows, columns)
        Where the results go, in the type in which they are summed up; no part of the others.
    edges : tuple of Tensor
        Row pointers (int64), neighbours (int64) and weights (of the type of `out`) in compressed sparse row form;
        neighbours from the number of local rows on are received rows.
    """
    rows, columns = x.shape
    grid = (triton.cdiv(columns, BLOCK), rows)
    kind: Any = tl.float64 if out.dtype == torch.float64 else tl.float32
    _change_of_rows[grid](
        x,
        x.stride(0),
        received if len(received) else x,
        received.stride(0) if len(received) else 0,
        out,
        out.stride(0),
        *edges,
        rows,
        columns,
        KIND=kind,
        WIDTH=BLOCK,
    )
