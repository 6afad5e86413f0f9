"""The mixing operator against dense products in float64, bit for bit across ranks, and its drift over many rounds."""

from __future__ import annotations

import multiprocessing
import sys
import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit.errors import InputError
from topokit_trainer import mixing
from topokit_trainer.mixing import MixingOperator
from topokit_trainer.mixing_kernel import block_columns

Matrix = NDArray[np.float64]


def circulant(n: int, *offsets: int) -> Matrix:
    W = np.eye(n)
    for o in offsets:
        W += np.roll(np.eye(n), o, axis=1)
    return W / (len(offsets) + 1)


def star(n: int) -> Matrix:
    W = np.zeros((n, n))
    W[0, 1:] = W[1:, 0] = 1 / n
    return W + np.diag(1 - W.sum(axis=1))


def random_weights(n: int, low: float) -> Matrix:
    rng = np.random.default_rng(7)
    W = np.where(rng.random((n, n)) < 0.4, rng.uniform(low, 1, (n, n)) / n, 0)
    W[n // 2] = W[n - 1] = 0  # isolated rows
    np.fill_diagonal(W, 0)
    return W + np.diag(1 - W.sum(axis=1))


MATRICES = {
    "isolated": np.eye(5),
    "pairs": np.kron(np.eye(4), np.full((2, 2), 0.5)),
    "one-peer": circulant(16, 4),
    "ring": circulant(16, 1, -1),
    "exponential": circulant(64, 1, 2, 4, 8, 16, 32),
    "star": star(20),
    "random": random_weights(24, 0),
    "negative": random_weights(24, -1),
    "complete": np.full((12, 12), 1 / 12),
    "dense": np.full((64, 64), 1 / 64),
}


def operator(W: Matrix, local: slice = slice(None), needed: NDArray[np.int64] | None = None) -> MixingOperator:
    """Build the operator of a rank that holds the rows `local`, and receives the rows `needed`."""
    rows = np.arange(len(W))[local]
    place = {int(node): k for k, node in enumerate([*rows, *([] if needed is None else needed)])}
    neighbours = [[j for j in np.flatnonzero(W[i]) if j != i] for i in rows]
    indptr = np.cumsum([0, *map(len, neighbours)])
    index = [place[int(j)] for near in neighbours for j in near]
    weight = [W[i, j] for i, near in zip(rows, neighbours, strict=True) for j in near]
    return MixingOperator(len(rows), indptr, np.array(index, dtype=int), np.array(weight))


def normal(rows: int, columns: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(params=["kernel", "torch"])
def path(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(mixing, "_compiled_kernel", lambda: None)
    return request.param


class TestValues:
    @pytest.mark.parametrize("name", MATRICES)
    def test_float64_equals_dense_product(self, name, path):
        W = MATRICES[name]
        x = normal(len(W), 1000)
        assert operator(W).dense == (name == "dense")
        expected = W @ x.numpy()
        mixed = operator(W).mix_(x.clone())
        assert np.abs(mixed.numpy() - expected).max() <= 1e-14 * x.abs().max().item()

    @pytest.mark.parametrize("name", MATRICES)
    @pytest.mark.parametrize(
        ("dtype", "tolerance"), [(torch.float32, 0), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)]
    )
    def test_narrower_types(self, name, dtype, tolerance, path):
        W = MATRICES[name]
        x = normal(len(W), 300, dtype)
        expected = W @ x.double().numpy()
        mixed = operator(W).mix_(x.clone())
        assert mixed.dtype == dtype
        # Sums are kept in float32, and the result is rounded once.
        allowed = tolerance * np.abs(expected) + 1e-6 * x.double().abs().max().item()
        assert np.all(np.abs(mixed.double().numpy() - expected) <= allowed)

    @pytest.mark.parametrize("columns", [0, 1, 7, 127, 1023, 1024, 1025, 4097])
    @pytest.mark.parametrize("name", ["exponential", "star", "dense"])
    def test_any_number_of_columns(self, name, columns, path):
        W = MATRICES[name]
        x = normal(len(W), columns)
        assert np.allclose(operator(W).mix_(x.clone()).numpy(), W @ x.numpy(), rtol=0, atol=1e-14)

    def test_blocks_and_pieces_of_several_threads_fit_together(self, path):
        W = MATRICES["exponential"]
        columns = 13 * block_columns(64, 4) + 5
        x = normal(64, columns, torch.float32)
        before = torch.get_num_threads()
        results = []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(operator(W).mix_(x.clone()))
        finally:
            torch.set_num_threads(before)
        assert np.allclose(results[0].numpy(), W @ x.double().numpy(), rtol=0, atol=3e-6)
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])

    @pytest.mark.parametrize("name", ["ring", "dense"])
    def test_columns_of_a_wider_stack(self, name, path):
        W = MATRICES[name]
        stack = normal(len(W), 500)
        before = stack.clone()
        part = stack[:, 100:307]
        expected = operator(W).mix_(part.clone())
        assert operator(W).mix_(part) is part
        assert torch.equal(part, expected) or name == "dense"  # a product may depend on where its operands lie
        assert torch.allclose(part, expected, rtol=0, atol=1e-14)
        assert torch.equal(stack[:, :100], before[:, :100])
        assert torch.equal(stack[:, 307:], before[:, 307:])

    def test_strided_columns(self, path):
        W = MATRICES["ring"]
        x = normal(200, 16).T
        expected = operator(W).mix_(x.contiguous())
        assert torch.equal(operator(W).mix_(x), expected)

    def test_zero_rows(self, path):
        assert MixingOperator(0, [0], [], []).mix_(torch.zeros(0, 5)).shape == (0, 5)

    def test_received_rows_only(self, path):
        """One local row that hears three others: what a rank with a single node does."""
        x, received = normal(1, 50), normal(3, 50, seed=1)
        op = MixingOperator(1, [0, 3], [1, 2, 3], [0.25, -0.5, 0.75])
        assert (op.received_rows, op.neighbours) == (3, 3)
        rest = 0.5 * x + torch.tensor([[0.25, -0.5, 0.75]], dtype=torch.float64) @ received
        assert torch.allclose(op.mix_(x.clone(), received), rest, rtol=0, atol=1e-14)

    def test_parameters_are_mixed_outside_the_graph(self, path):
        x = torch.nn.Parameter(normal(16, 10))
        expected = torch.from_numpy(MATRICES["ring"] @ x.detach().numpy())
        op = operator(MATRICES["ring"])
        assert not op.correction(x).requires_grad
        loss = (x * x).sum()
        op.mix_(x)
        assert torch.allclose(x.detach(), expected, rtol=0, atol=1e-14)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


class TestBits:
    @pytest.mark.parametrize("name", MATRICES)
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    def test_mix_equals_adding_the_correction(self, name, dtype, path):
        W = MATRICES[name]
        x = normal(len(W), 777, dtype)
        before = x.clone()
        op = operator(W)
        correction = op.correction(x)
        assert torch.equal(x, before)
        assert correction.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        out = torch.full_like(correction, torch.nan)
        assert op.correction(x, out=out) is out
        assert torch.equal(out, correction)
        assert torch.equal(op.mix_(x), before.add_(correction))

    @pytest.mark.parametrize("name", MATRICES)
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_kernel_equals_torch_operations(self, name, dtype, monkeypatch):
        W = MATRICES[name]
        x = normal(len(W), 777, dtype)
        op = operator(W)
        op.dense = False
        compiled = op.mix_(x.clone())
        monkeypatch.setattr(mixing, "_compiled_kernel", lambda: None)
        assert torch.equal(compiled, op.mix_(x.clone()))

    @pytest.mark.parametrize("ranks", [2, 4])
    @pytest.mark.parametrize("name", ["pairs", "ring", "exponential", "star", "random", "negative", "complete"])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_rows_spread_over_ranks(self, name, ranks, dtype, path):
        W = MATRICES[name]
        x = normal(len(W), 500, dtype)
        together = operator(W).mix_(x.clone())
        share = len(W) // ranks
        for rank in range(ranks):
            local = slice(rank * share, (rank + 1) * share)
            outside = np.setdiff1d(np.arange(len(W)), np.arange(len(W))[local])
            needed = outside[np.any(W[local][:, outside] != 0, axis=0)]
            received = x[torch.from_numpy(needed)] if needed.size else None
            apart = operator(W, local, needed).mix_(x[local].clone(), received)
            assert torch.equal(apart, together[local])

    def test_dense_rows_spread_over_ranks_agree_up_to_rounding(self):
        W = MATRICES["dense"]
        x = normal(64, 500)
        together = operator(W).mix_(x.clone())
        apart = operator(W, slice(0, 32), np.arange(32, 64)).mix_(x[:32].clone(), x[32:])
        assert torch.allclose(apart, together[:32], rtol=0, atol=1e-14)

    def test_rows_that_agree_stay_exactly(self, path):
        for W in MATRICES.values():
            x = normal(1, 100, torch.float32).repeat(len(W), 1)
            assert torch.equal(operator(W).mix_(x.clone()), x)


class TestRestricted:
    def test_rows_that_need_no_others_are_mixed_as_among_all(self):
        rng = np.random.default_rng(4)
        x, received = rng.standard_normal((6, 7)), rng.standard_normal((2, 7))
        # Rows 1, 4 and 5 need one another and what arrives; 0 and 2 are a pair of their own; 3 needs nothing.
        whole = MixingOperator(6, [0, 1, 3, 4, 4, 6, 7], [2, 4, 6, 0, 1, 5, 7], [0.3, 0.2, 0.1, 0.3, 0.4, 0.2, 0.6])
        expected = whole.correction(torch.from_numpy(x), torch.from_numpy(received)).numpy()
        rows = np.array([5, 1, 4])
        found = whole.restricted(rows).correction(torch.from_numpy(x[rows]), torch.from_numpy(received))
        assert np.array_equal(found.numpy(), expected[rows])
        assert np.array_equal(whole.restricted(np.array([3])).correction(torch.from_numpy(x[3:4])), np.zeros((1, 7)))

    def test_rows_that_need_others_are_refused(self):
        with pytest.raises(InputError, match="neighbours are other rows"):
            MixingOperator(3, [0, 1, 2, 2], [1, 0], [0.5, 0.5]).restricted(np.array([0, 2]))


class TestDrift:
    """Thousands of rounds of a ring of 16: rounding must not move the mean (the plain product shows how it would)."""

    ROUNDS = 3000
    W = MATRICES["ring"]

    def drift(self, x: Tensor, *, plain: bool = False) -> NDArray[np.float64]:
        mean = x.double().mean(dim=0)
        op, W = operator(self.W), torch.from_numpy(self.W).to(x.dtype)
        for _ in range(self.ROUNDS):
            if plain:
                x = W @ x
            else:
                op.mix_(x)
        return (x.double().mean(dim=0) - mean).numpy()

    def test_float32(self):
        x = normal(16, 1000, torch.float32)
        drift, plain = self.drift(x.clone()), self.drift(x, plain=True)
        assert abs(drift.mean()) < 1e-8
        assert np.abs(drift).mean() < 5e-8
        assert np.abs(plain).mean() > 20 * np.abs(drift).mean()

    def test_bfloat16(self):
        x = normal(16, 1000, torch.bfloat16)
        drift, plain = self.drift(x.clone()), self.drift(x.clone(), plain=True)
        print(f"mean drift {np.abs(drift).mean():.2e}, of the mean {x.double().mean(dim=0).abs().mean():.2e}")
        assert np.abs(drift).mean() < 0.005
        assert np.abs(plain).mean() > 5 * np.abs(drift).mean()

    def test_float16(self):
        drift = self.drift(normal(16, 1000, torch.float16))
        assert np.abs(drift).mean() < 0.0005

    def test_dense(self):
        x = normal(64, 200, torch.float32)
        op, mean = operator(MATRICES["dense"]), x.double().mean(dim=0)
        assert op.dense
        for _ in range(300):
            op.mix_(x)
        assert (x.double().mean(dim=0) - mean).abs().mean() < 5e-8


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((2, [0, 1], [1], [0.5]), "indptr must hold 3 ascending numbers"),
            ((2, [0, 1, 3], [1, 0], [0.5, 0.5]), r"number of neighbours \(2\)"),
            ((2, [0, 2, 1], [1], [0.5]), "ascending"),
            ((2, [0, 1, 2], [1, 0], [0.5]), "one length"),
            ((2, [0, 1, 2], [1, 1], [0.5, 0.5]), r"index\[1\] of row 1 is 1; neighbours are other rows"),
            ((2, [0, 1, 2], [1, -1], [0.5, 0.5]), r"index\[1\] of row 1 is -1"),
            ((2, [0, 1, 2], [1, 0], [0.5, np.nan]), r"weight\[1\] of row 1 is nan"),
        ],
    )
    def test_arrays_that_do_not_fit(self, arguments, message):
        with pytest.raises(InputError, match=message):
            MixingOperator(*arguments)

    @pytest.mark.parametrize(
        ("x", "received", "out", "message"),
        [
            (torch.zeros(3, 4), torch.zeros(1, 4), None, r"x has shape \(3, 4\), but it must be \(2, columns\)"),
            (torch.zeros(2), torch.zeros(1, 4), None, "a row for each node"),
            (torch.zeros(2, 4, dtype=torch.int64), None, None, "only floating point"),
            (torch.zeros(2, 4), None, None, "rows of 1 other nodes are needed"),
            (torch.zeros(2, 4), torch.zeros(1, 5), None, r"received has shape \(1, 5\), but it must be \(1, 4\)"),
            (torch.zeros(2, 4), torch.zeros(0, 4), None, r"received has shape \(0, 4\)"),
            (torch.zeros(2, 4), torch.zeros(1, 4).double(), None, "received is torch.float64 on cpu, but x is"),
            (torch.zeros(2, 4), torch.zeros(1, 4), torch.zeros(2, 3), r"out is \(2, 3\), torch.float32 on cpu"),
            (torch.zeros(2, 4).half(), torch.zeros(1, 4).half(), torch.zeros(2, 4).half(), "torch.float32 on cpu$"),
        ],
    )
    def test_tensors_that_do_not_fit(self, x, received, out, message):
        op = MixingOperator(2, [0, 1, 2], [2, 0], [0.5, 0.5])
        with pytest.raises(InputError, match=message):
            op.correction(x, received, out)


class TestSurroundings:
    def test_without_numba(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "topokit_trainer.mixing_kernel", None)
        mixing._compiled_kernel.cache_clear()
        try:
            op, x = operator(MATRICES["ring"]), normal(16, 10)
            with pytest.warns(RuntimeWarning, match=r"pip install 'topokit\[train\]'"):
                mixed = op.mix_(x.clone())
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                op.mix_(x.clone())  # once is enough
        finally:
            mixing._compiled_kernel.cache_clear()
        assert np.allclose(mixed.numpy(), MATRICES["ring"] @ x.numpy(), rtol=0, atol=1e-14)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_narrower_types_need_no_numba(self, dtype, monkeypatch):
        monkeypatch.setattr(mixing, "_compiled_kernel", lambda: pytest.fail("the kernel was asked for"))
        x = normal(16, 10, dtype)
        assert not torch.equal(operator(MATRICES["ring"]).mix_(x.clone()), x)

    def test_inference_mode(self, path):
        with torch.inference_mode():
            x = normal(16, 10)
            expected = MATRICES["ring"] @ x.numpy()
            assert np.allclose(operator(MATRICES["ring"]).mix_(x).numpy(), expected, rtol=0, atol=1e-14)

    def test_without_a_place_for_the_cache(self, monkeypatch):
        from topokit_trainer import mixing_kernel

        compile_ = mixing_kernel.numba.njit

        def njit(*args, cache=False, **options):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return compile_(*args, **options)

        monkeypatch.setattr(mixing_kernel.numba, "njit", njit)
        mixing_kernel._compiled.cache_clear()
        x = normal(16, 10)
        try:
            mixed = operator(MATRICES["ring"]).mix_(x.clone())
        finally:
            mixing_kernel._compiled.cache_clear()
        assert np.allclose(mixed.numpy(), MATRICES["ring"] @ x.numpy(), rtol=0, atol=1e-14)

    def test_reduced_precision_products_are_not_used(self):
        W, x = MATRICES["dense"], normal(64, 100, torch.float32)
        try:
            torch.set_float32_matmul_precision("medium")
            mixed = operator(W).mix_(x.clone())
            with torch.autocast("cpu", dtype=torch.bfloat16):
                torch.set_float32_matmul_precision("highest")
                cast = operator(W).mix_(x.clone())
        finally:
            torch.set_float32_matmul_precision("highest")
        for result in (mixed, cast):
            assert np.abs(result.double().numpy() - W @ x.double().numpy()).max() < 2e-6

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_after_a_fork(self):
        """The threads of the pool stay in the parent; a child must not wait for them."""
        from topokit_trainer import mixing_kernel

        assert mixing_kernel._pool(1).submit(int).result() == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads
            child = multiprocessing.get_context("fork").Process(target=_use_pool)
            child.start()
        child.join(20)
        assert child.exitcode == 0


def _use_pool() -> None:
    from topokit_trainer import mixing_kernel

    assert mixing_kernel._pool(1).submit(int).result(10) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu():
    for name, W in MATRICES.items():
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            x = normal(len(W), 1000, dtype)
            on_cpu, on_gpu = operator(W).mix_(x.clone()), operator(W).mix_(x.cuda()).cpu()
            eps = 4 * torch.finfo(dtype).eps if name == "dense" else 0
            assert torch.allclose(on_gpu, on_cpu, rtol=eps, atol=eps)
