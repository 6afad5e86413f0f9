"""Low rank: what is kept of a matrix, against its definition in NumPy and against what is proved of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit_trainer.compression.low_rank import LowRank
from topokit_trainer.compression.plain import Halved, Identity


def bf16(shape, dtype):
    return Halved(shape, dtype, "bf16")


def fp16(shape, dtype):
    return Halved(shape, dtype, "fp16")


def projected(x, rank, draw):
    """P P^T X, with P from a decomposition of X Omega."""
    omega = torch.randn((x.shape[1], rank), generator=torch.Generator().manual_seed(draw), dtype=torch.float64).numpy()
    left, values, _ = np.linalg.svd(x @ omega, full_matrices=False)
    left = left[:, values > 1e-12 * values.max(initial=0.0)]
    return left @ (left.T @ x)


def kept(compressor, x, draws):
    """C(x) of one matrix under several draws."""
    rows = x.reshape(1, -1).repeat(len(draws), 1)
    return compressor.decode(compressor.encode(rows, draws), draws)


def with_singular_values(values, columns, seed=0):
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    v = np.linalg.qr(rng.standard_normal((columns, len(values))))[0]
    return torch.from_numpy(u @ np.diag(values) @ v.T)


@given(
    st.integers(2, 12),
    st.integers(2, 12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["any", "low", "zero"]),
)
@settings(deadline=None, max_examples=30)
def test_it_is_the_projection_on_the_range_of_a_random_product(a, b, rank, rows, kind):
    rng = np.random.default_rng([a, b, rank, rows])
    compressor = LowRank((a, b), torch.float64, rank, Identity)
    x = rng.standard_normal((rows, a, b))
    if kind != "any":
        x = rng.standard_normal((rows, a, 1)) @ rng.standard_normal((rows, 1, b)) * (kind == "low")
    draws = [int(draw) for draw in rng.integers(2**62, size=rows)]
    packed = compressor.encode(torch.from_numpy(x).reshape(rows, -1), draws)
    assert packed.shape == (rows, compressor.size)
    assert packed.dtype == torch.uint8
    found = compressor.decode(packed, draws).reshape(rows, a, b).numpy()
    for row in range(rows):
        whole = min(a, b) <= rank or rank * (a + b) >= a * b
        expected = x[row] if whole else projected(x[row], rank, draws[row])
        assert np.abs(found[row] - expected).max() < 1e-11
        if kind == "low":
            assert np.abs(found[row] - x[row]).max() < 1e-11


@pytest.mark.parametrize(
    ("shape", "rank", "size"),
    [
        ((20, 30), 3, 4 * 3 * 50),
        ((16, 3, 5, 5), 2, 4 * 2 * (16 + 75)),
        ((30,), 1, 120),
        ((), 1, 4),
        ((3, 40), 3, 480),  # all there is
        ((4, 5), 2, 72),
        ((4, 4), 2, 64),  # factors would be as large
        ((1, 1, 9), 1, 36),
    ],
)
def test_factors_travel_where_they_are_smaller(shape, rank, size):
    compressor = LowRank(shape, torch.float32, rank, Identity)
    assert compressor.size == size
    x = torch.randn(2, int(np.prod(shape)), generator=torch.Generator().manual_seed(0))
    found = compressor.decode(compressor.encode(x, [1, 2]), [1, 2])
    whole = size == 4 * x.shape[1]
    assert torch.equal(found, x) == whole
    assert compressor.random == (not whole)
    assert compressor.contraction == (1.0 if whole else rank / min(shape[0], x.shape[1] // shape[0]))


@pytest.mark.parametrize(("values", "size"), [(bf16, 2), (fp16, 2), (Identity, 4)])
def test_factors_are_written_as_the_factory_says(values, size):
    x = torch.randn(1, 40 * 60, generator=torch.Generator().manual_seed(3))
    compressor = LowRank((40, 60), torch.float32, 4, values)
    assert compressor.size == size * 4 * 100 + (8 if values is fp16 else 0)  # a power of two for each factor
    found = compressor.decode(compressor.encode(x, [5]), [5]).numpy().reshape(40, 60)
    exact = projected(x.numpy().reshape(40, 60).astype(float), 4, 5)
    unit = {bf16: 2.0**-8, fp16: 2.0**-11, Identity: 2.0**-22}[values]
    assert np.linalg.norm(found - exact) < 3 * unit * np.linalg.norm(exact)
    assert np.linalg.matrix_rank(found.astype(float), tol=1e-4 * np.linalg.norm(found)) == 4
    # Q fits what P became by rounding: no more is lost than by rounding Q, whose error is orthogonal to the rest.
    lost, least = (np.linalg.norm(x.numpy().reshape(40, 60) - y) ** 2 for y in (found, exact))
    assert lost - least < 20 * unit**2 * np.linalg.norm(x.numpy()) ** 2 + 0.2 * unit * least


@pytest.mark.parametrize("spectrum", ["equal", "falling", "one"])
@pytest.mark.parametrize(("a", "b", "rank"), [(8, 12, 1), (12, 8, 3)])
def test_it_keeps_its_share_on_average(spectrum, a, b, rank):
    m, several = min(a, b), 1500
    values = {"equal": np.ones(m), "falling": 0.7 ** np.arange(m), "one": np.eye(m)[0]}[spectrum]
    x = with_singular_values(values, max(a, b)) if a < b else with_singular_values(values, max(a, b)).T
    compressor = LowRank((a, b), torch.float64, rank, Identity)
    draws = list(range(several))
    shares = 1 - ((kept(compressor, x, draws) - x.reshape(1, -1)) ** 2).sum(1) / (x**2).sum()
    error = float(shares.std()) / np.sqrt(several)
    assert compressor.contraction == rank / m
    assert float(shares.mean()) > compressor.contraction - 4 * error - 1e-12
    if spectrum == "equal":  # the bound is met, whatever is drawn
        assert (shares - compressor.contraction).abs().max() < 1e-12
    else:
        assert float(shares.mean()) > 1.2 * compressor.contraction


@pytest.mark.parametrize("values", [bf16, fp16])
def test_rounded_factors_keep_the_share_they_promise(values):
    x = with_singular_values(np.ones(6), 40).float()
    compressor = LowRank((6, 40), torch.float32, 2, values)
    assert 0 < compressor.contraction < 2 / 6
    found = kept(compressor, x, list(range(500)))
    shares = 1 - ((found - x.reshape(1, -1)) ** 2).sum(1) / (x**2).sum()
    assert float(shares.mean()) > compressor.contraction - 4 * float(shares.std()) / np.sqrt(500)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_all_holders_get_the_same_bits(dtype):
    """However many rows are decoded at once, wherever they lie in memory, and added to whatever they are added to."""
    x = torch.randn(5, 7 * 33 + 9, generator=torch.Generator().manual_seed(1)).to(dtype)[:, 4 : 4 + 7 * 33]
    compressor, draws = LowRank((7, 33), dtype, 3, Identity), [11, 12, 13, 14, 15]
    packed = compressor.encode(x, draws)
    together = compressor.decode(packed, draws)
    assert together.dtype == dtype
    start = torch.randn(6, 7 * 33, generator=torch.Generator().manual_seed(2)).to(dtype)
    target = start.clone()
    compressor.add_(target, torch.tensor([5, 0, 2, 1, 4]), packed, draws)
    for row, place in enumerate([5, 0, 2, 1, 4]):
        assert torch.equal(compressor.encode(x[row : row + 1].clone(), draws[row : row + 1])[0], packed[row])
        alone = compressor.decode(packed[row : row + 1].clone(), draws[row : row + 1])
        assert torch.equal(alone[0], together[row])
        factors = packed[row].clone().view(dtype).to(torch.promote_types(dtype, torch.float32)).numpy()
        p, q = factors[: 3 * 7].reshape(3, 7), factors[3 * 7 :].reshape(3, 33)
        expected = (np.multiply.outer(p[0], q[0]) + np.multiply.outer(p[1], q[1])) + np.multiply.outer(p[2], q[2])
        assert torch.equal(together[row], torch.from_numpy(expected.reshape(-1)).to(dtype))
        assert torch.equal(target[place], start[place] + together[row])
    assert torch.equal(target[3], start[3])


@pytest.mark.parametrize("rank", [1, 2])
def test_a_run_that_diverges_is_not_stopped_by_it(rank):
    compressor = LowRank((6, 9), torch.float32, rank, Identity)
    x = torch.ones(2, 54)
    x[0, 5], x[1, 50] = torch.inf, torch.nan
    assert not compressor.decode(compressor.encode(x, [1, 2]), [1, 2]).isfinite().all(1).any()
