"""Every compressor and composition: its definition, its bytes, its contraction, and error feedback."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from compressors import DTYPES, EXACT, RANDOM, SHAPE, UNIT, by_hand, bytes_by_hand, normal, round_trip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from topokit_trainer.compression import make_compressor


@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_it_is_its_definition(text):
    compressor = make_compressor(text)(SHAPE, torch.float64)
    x = normal(6, compressor.columns)
    x[1], x[2, 100:] = 0, 0
    x[3] *= 1e-30  # rows of one matrix need not be of one size
    x[4] = x[4].round()  # many are equal
    found = round_trip(compressor, x, range(40, 46)).numpy()
    expected = np.stack([by_hand(text, row, 40 + number) for number, row in enumerate(x.numpy())])
    sizes = np.abs(x.numpy()).max(axis=1, keepdims=True)
    if "low-rank" in text and "+" in text:  # rounding of factors, which the definition leaves to the values
        assert (np.abs(found - expected) <= 0.05 * sizes).all()
    else:
        assert (np.abs(found - expected) <= 1e-12 * sizes).all()
    assert (found[1] == 0).all()
    assert np.abs(found[0]).max() > 0.01


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_bytes_are_counted(text, dtype):
    dtype = DTYPES[dtype]
    for shape in (SHAPE, (1,), (7,), (100,), (2, 3, 5), (1000, 1)):
        compressor = make_compressor(text)(shape, dtype)
        d = int(np.prod(shape))
        assert compressor.columns == d
        x = normal(3, d, dtype=dtype)
        packed = compressor.encode(x, [1, 2, 3])
        assert packed.dtype == torch.uint8
        assert packed.shape == (3, compressor.size) == (3, bytes_by_hand(text, shape, dtype.itemsize))
        there = compressor.decode(packed, [1, 2, 3])
        assert (there.dtype, there.shape) == (dtype, (3, d))
        assert compressor.encode(x[:0], []).shape == (0, compressor.size)
        assert compressor.decode(packed[:0], []).shape == (0, d)
        target = torch.ones(3, d, dtype=dtype)
        compressor.add_(target, torch.zeros(0, dtype=torch.int64), packed[:0], [])
        assert (target == 1).all()


@pytest.mark.parametrize(
    "text", ["identity", "bf16", "fp16", "top-k:0.1", "top-k:0.4+bf16", "rand-k:0.1", "rand-k:0.3+fp16"]
)
def test_what_was_rounded_once_stays_as_it_is(text):
    for dtype in DTYPES.values():
        compressor = make_compressor(text)(SHAPE, dtype)
        once = round_trip(compressor, normal(3, 408, dtype=dtype), [4, 5, 6])
        assert torch.equal(round_trip(compressor, once, [4, 5, 6]), once)


@pytest.mark.parametrize("text", ["sign", "top-k:0.07+sign", "rand-k:0.5+sign", "low-rank:3"])
def test_what_is_in_the_range_stays_there(text):
    compressor = make_compressor(text)(SHAPE, torch.float64)
    once = round_trip(compressor, normal(3, 408), [4, 5, 6])
    assert torch.allclose(round_trip(compressor, once, [4, 5, 6]), once, rtol=1e-12, atol=1e-13)


def test_half_precision_reaches_far_below_the_largest():
    x = torch.tensor([[1.99, 1.236328125 * 2.0**-27, 0.0], [-1e-30, 3.3e-38, 1e-32]])
    found = round_trip(make_compressor("fp16")((3,), torch.float32), x, [0, 0])
    assert ((found - x).abs() <= 2.0**-11 * x.abs()).all()
    assert round_trip(make_compressor("fp16")((1,), torch.float32), torch.tensor([[3e38]]), [0]).isfinite().all()


# Contraction

ADVERSARIAL = {
    "zeros": np.zeros(408),
    "one": np.eye(408)[200],
    "last": -np.eye(408)[-1],
    "equal": np.ones(408),
    "alternating": np.where(np.arange(408) % 2, 1.0, -1.0),
    "geometric": 0.9 ** np.arange(408.0),
    "steep": 2.0 ** -np.arange(408.0),
    "two": np.eye(408)[3] + np.eye(408)[300],
    "harmonic": 1 / (1.0 + np.arange(408)),
    "outlier": np.ones(408) + 1e4 * np.eye(408)[7],
    "tiny": np.full(408, 1e-30),
    "orthogonal": np.eye(24, 17).ravel(),
}


def assert_contracts(text, x):
    for dtype in DTYPES.values():
        compressor = make_compressor(text)(SHAPE, dtype)
        assert 0 < compressor.contraction <= 1
        row = torch.from_numpy(x).to(dtype).unsqueeze(0)
        error = (row.double() - round_trip(compressor, row, [0]).double()).square().sum().item()
        size = row.double().square().sum().item()
        assert error <= (1 - compressor.contraction) * size + 10 * UNIT[dtype] * size, dtype


@pytest.mark.parametrize("text", EXACT)
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_contraction_holds_where_it_is_hard(text, name):
    assert_contracts(text, ADVERSARIAL[name])


@pytest.mark.parametrize("text", EXACT)
@settings(max_examples=6, deadline=None)
@given(x=arrays(np.float64, 408, elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False)))
def test_the_contraction_holds_for_every_row(text, x):
    assert_contracts(text, np.where(np.abs(x) < 1e-12, 0, x))


@pytest.mark.parametrize("text", RANDOM)
def test_the_contraction_holds_on_average(text):
    compressor, draws = make_compressor(text)(SHAPE, torch.float64), 100
    assert 0 < compressor.contraction < 1
    for name, row in ({"normal": normal(408, seed=3).numpy()} | ADVERSARIAL).items():
        x = torch.from_numpy(row).expand(draws, -1)
        errors = (x - round_trip(compressor, x, range(draws))).square().sum(dim=1).numpy()
        size = (row**2).sum()
        chance = 5 * errors.std(ddof=1) / sqrt(draws)
        assert errors.mean() <= (1 - compressor.contraction) * size + chance + 1e-12 * size, name


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("sign", "one"),
        ("top-k:0.1", "equal"),
        ("top-k:0.02+sign", "equal"),
        ("top-k:0.1+sign", "one"),
        ("rand-k:0.5+sign", "one"),
        ("rand-k:0.1", "normal"),
        ("low-rank:3", "orthogonal"),
    ],
)
def test_no_larger_contraction_holds_for_every_row(text, row):
    compressor, draws = make_compressor(text)(SHAPE, torch.float64), 1500
    x = torch.from_numpy(ADVERSARIAL.get(row, normal(408).numpy())).expand(draws, -1)
    errors = (x - round_trip(compressor, x, range(draws))).square().sum(dim=1) / x[0].square().sum()
    assert 1 - errors.mean().item() == pytest.approx(compressor.contraction, rel=0.1)


@settings(max_examples=20, deadline=None)
@given(x=arrays(np.float64, 64, elements=st.floats(-100, 100, allow_subnormal=False)), k=st.integers(1, 64))
def test_exact_errors_of_signs_and_of_the_largest(x, k):
    size, rows = (x**2).sum(), torch.from_numpy(x).unsqueeze(0)
    largest = np.sort(np.abs(x))[::-1]
    for text, kept in (
        ("sign", np.abs(x).sum() ** 2 / 64),
        (f"top-k:{k / 64}", (largest[:k] ** 2).sum()),
        (f"top-k:{k / 64}+sign", largest[:k].sum() ** 2 / k),
    ):
        compressor = make_compressor(text)((64,), torch.float64)
        error = (rows - round_trip(compressor, rows, [0])).square().sum().item()
        assert error == pytest.approx(size - kept, abs=1e-12 * size + 1e-300)


# Error feedback


@pytest.mark.parametrize(
    "text", [*EXACT, "qsgd:4,32", "top-k:0.3+qsgd:4", "rand-k:0.1", "rand-k:0.7+sign", "low-rank:3"]
)
def test_with_error_feedback_all_arrives(text):
    compressor, rng = make_compressor(text)(SHAPE, torch.float64), np.random.default_rng(1)
    steady, rounds = torch.from_numpy(rng.standard_normal((1, 408))), 400
    error, sent, sizes = torch.zeros(1, 408).double(), torch.zeros(1, 408).double(), []
    for step in range(rounds):
        wanted = error + steady
        arrived = round_trip(compressor, wanted, [step])
        sent, error = sent + arrived, wanted - arrived
        sizes.append(error.norm().item() / steady.norm().item())
    # ||e|| <= sqrt(1 - omega) (||e|| + ||x||), and so on for ever.
    keeps = sqrt(1 - compressor.contraction)
    assert max(sizes) <= keeps / (1 - keeps) + 1e-9
    assert max(sizes[rounds // 2 :]) <= 1.6 * max(sizes[: rounds // 2]) + 1e-12, "it does not go on growing"
    assert (sent / rounds - steady).norm() <= 1.01 * sizes[-1] / rounds * steady.norm() + 1e-12
    assert sizes[-1] / rounds < 0.2
