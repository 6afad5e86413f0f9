"""Low rank: a tensor as a matrix, and of that the best in a random subspace, found by one power iteration.

A tensor of shape (a, ...) is a matrix X of a rows and b columns. P is an orthonormal basis of the range of X Omega,
where Omega has r Gaussian columns, and C(X) = P P^T X = P Q^T: what travels are P and Q, r (a + b) numbers instead of
a b.

Contraction. Let s_1 >= s_2 ... be the singular values of X, at most m = min(a, b), and p_k the share of the k-th left
singular vector in the range of X Omega, so that E ||C(X)||^2 = sum_k E[p_k] s_k^2. Row k of U^T X Omega is s_k g_k with
g_k Gaussian and independent of the others; p_k grows with s_k, the other shares shrink, and rows with equal s_k are
exchangeable: hence the E[p_k] are in the order of the s_k. The shares add up to r (a matrix of smaller rank is kept
whole), and by Chebyshev's sum inequality E ||C(X)||^2 >= (r / m) ||X||^2. Equality holds where all s_k are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from topokit_trainer.compression.base import Compressor, CompressorFactory

__all__ = ["LowRank", "as_matrix", "orthonormal"]


def as_matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Give rows and columns of a tensor as a matrix; one with fewer than two dimensions is a single row.

    Examples
    --------
    >>> as_matrix((16, 3, 5, 5)), as_matrix((10,))
    ((16, 75), (1, 10))
    """
    if len(shape) < 2:
        return 1, torch.Size(shape).numel()
    return shape[0], torch.Size(shape[1:]).numel()


def orthonormal(block: Tensor) -> Tensor:
    """Give orthonormal columns that span those of each matrix; a single column of zeros stays so.

    Parameters
    ----------
    block : Tensor, shape (..., n, r), r <= n

    Returns
    -------
    Tensor of float64, shape (..., n, r)

    Examples
    --------
    >>> orthonormal(torch.tensor([[3.0], [4.0]])).squeeze(1).tolist()
    [0.6, 0.8]
    """
    block = block.double()
    if block.shape[-1] > 1:
        # By reflections: orthonormal also where columns depend on one another.
        basis: Tensor = torch.linalg.qr(block).Q
        return basis
    norm = torch.linalg.vector_norm(block, dim=-2, keepdim=True)
    return block / torch.where(norm == 0, 1.0, norm)


class LowRank(Compressor):
    """C(X) = P Q^T with r columns each; what is no smaller that way travels whole.

    Whole are tensors with fewer than two dimensions (a stack compressed as one vector is one), and those whose matrix
    has at most r rows or columns, or so few that the factors would be as large.

    Parameters
    ----------
    shape, dtype
        As for all compressors.
    rank : int
        Columns r of the factors.
    values : callable
        Makes the compressor of a factor, or of the whole.

    References
    ----------
    T. Vogels, S. P. Karimireddy, M. Jaggi, PowerSGD: Practical low-rank gradient compression for distributed
    optimization, NeurIPS 2019.

    Examples
    --------
    >>> from topokit_trainer.compression.plain import Identity
    >>> compressor = LowRank((20, 30), torch.float64, 2, Identity)
    >>> compressor.size, compressor.contraction  # bytes of 2 * (20 + 30) numbers; 2 / 20
    (800, 0.1)
    >>> x = torch.outer(torch.arange(20.0), torch.ones(30)).double().reshape(1, -1)
    >>> torch.allclose(compressor.decode(compressor.encode(x, [7]), [7]), x)
    True
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, rank: int, values: CompressorFactory) -> None:
        super().__init__(shape, dtype)
        self.rank, self.matrix = rank, as_matrix(self.shape)
        whole = values(shape, dtype)
        self._factors: tuple[Compressor, Compressor] | None = None
        self._whole, self.size, self.contraction, self.random = whole, whole.size, whole.contraction, whole.random
        if min(self.matrix) <= rank:
            return
        left, right = (values((rank, side), dtype) for side in self.matrix)
        if left.size + right.size >= whole.size:
            return
        self._factors = left, right
        self.size, self.random = left.size + right.size, True
        self.contraction = _contraction(rank / min(self.matrix), rank, left, right)

    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Give P and then Q of each row, as the factory writes them."""
        if self._factors is None:
            return self._whole.encode(x, draws)
        left, right = self._factors
        (a, b), kind = self.matrix, torch.promote_types(self.dtype, torch.float32)
        packed = x.new_empty((len(x), self.size), dtype=torch.uint8)
        for row, draw in enumerate(draws):  # one by one: products in batches round differently for each number of rows
            values = x[row].to(kind).reshape(a, b)
            start = torch.randn((b, self.rank), generator=torch.Generator().manual_seed(draw), dtype=torch.float64)
            basis = orthonormal(values @ start.to(values))
            sent = left.encode(basis.T.reshape(1, -1).to(self.dtype), [draw])
            # The basis as all will have it, and what fits X best with that: rounding it costs little.
            basis = left.decode(sent, [draw]).view(self.rank, a).double()
            best = _solve(basis @ basis.T, (basis.to(kind) @ values).double())
            packed[row, : left.size] = sent[0]
            packed[row, left.size :] = right.encode(best.reshape(1, -1).to(self.dtype), [draw])[0]
        return packed

    def decode(self, packed: Tensor, draws: Sequence[int]) -> Tensor:
        """Give P Q^T, one outer product after the other."""
        if self._factors is None:
            return self._whole.decode(packed, draws)
        left, right = self._factors
        kind = torch.promote_types(self.dtype, torch.float32)
        p = left.decode(packed[:, : left.size], draws).to(kind).view(len(packed), self.rank, self.matrix[0], 1)
        q = right.decode(packed[:, left.size :], draws).to(kind).view(len(packed), self.rank, 1, self.matrix[1])
        total = p[:, 0] * q[:, 0]
        for k in range(1, self.rank):
            total += p[:, k] * q[:, k]  # two operations, each rounded
        return total.view(len(packed), self.columns).to(self.dtype)


def _solve(square: Tensor, right: Tensor) -> Tensor:
    """Solve for a small matrix near the unit matrix, or zero; once a run has diverged, it may hold no numbers."""
    if len(square) == 1:
        return right / torch.where(square == 0, 1.0, square)
    solved: Tensor = torch.linalg.solve_ex(square, right).result
    return solved


def _contraction(share: float, rank: int, left: Compressor, right: Compressor) -> float:
    """Take off what rounding of the factors can cost.

    P' differs from P by at most e = sqrt(r) times the relative error; what X has outside of the range of P' is then at
    most sqrt(1 - c) + e sqrt(c), where c is the share inside of P. The error of Q is in the range of P', orthogonal to
    that.
    """
    e, f = sqrt(max(1 - left.contraction, 0) * rank), sqrt(max(1 - right.contraction, 0))
    if e >= 1:
        return 0.0
    lost = 2 * e * sqrt(share * (1 - share)) + e * e * share + (f * (1 + e) / (1 - e)) ** 2
    return max(share - lost, 0.0)
