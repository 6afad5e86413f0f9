"""The contract of every compressor and composition: definition, contraction, bytes, copies that agree bit for bit."""

from __future__ import annotations

from itertools import combinations
from math import ceil, log2, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from topokit_trainer.compression import Codec, make_compressor
from topokit_trainer.compression import base as base_module
from topokit_trainer.compression import bits as bits_module
from topokit_trainer.compression import plain as plain_module
from topokit_trainer.compression import quantize as quantize_module
from topokit_trainer.compression import sign as sign_module
from topokit_trainer.compression import sparse as sparse_module
from topokit_trainer.compression.codec import drawn_seeds
from topokit_trainer.compression.quantize import UniformNumbers
from topokit_trainer.compression.sparse import drawn_places, largest_places
from topokit_trainer.seeding import keyed_seed
from topokit_trainer.stacks import NodeStacks

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}  # of rounding
EXACT = [
    "identity",
    "bf16",
    "fp16",
    "sign",
    "top-k:0.1",
    "top-k:0.07+sign",
    "top-k:0.4+bf16",
    "top-k:0.8+fp16",
    "top-k:1",
]
RANDOM = [
    "qsgd:1",
    "qsgd:4,32",
    "qsgd:15,100",
    "qsgd:300,7",
    "top-k:0.3+qsgd:4",
    "top-k:0.05+qsgd:2,16",
    "rand-k:0.1",
    "rand-k:0.7+sign",
    "rand-k:0.3+fp16",
    "rand-k:0.25+qsgd:8",
    "low-rank:1",
    "low-rank:3",
    "low-rank:2+bf16",
]
LONG = ["identity", "fp16", "sign", "qsgd:4,32", "top-k:0.07+sign", "rand-k:0.1", "low-rank:3"]
SHAPE = (24, 17)  # d = 408


# Each compressor once more, in NumPy and from the equations.


def to_bf16(x):
    """Rounded to the upper half of a float32, to even: by arithmetic on the integers."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16) << np.uint64(16)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def to_fp16(x):
    if not x.any():
        return x
    power = 2.0 ** (14 - np.floor(np.log2(np.abs(x).max())))
    return (x * power).astype(np.float16).astype(np.float64) / power


def qsgd(x, draw, levels, bucket=1024):
    out, u = np.zeros_like(x), UniformNumbers(draw)(x.size).double().numpy()
    b = min(bucket, x.size)
    tau = 1 + min(b / levels**2, sqrt(b) / levels)
    for first in range(0, x.size, b):
        part = x[first : first + b]
        norm = np.sqrt((part**2).sum())
        if norm:
            level = np.floor(levels * np.abs(part) / norm + u[first : first + b])
            out[first : first + b] = norm / (levels * tau) * np.sign(part) * level
    return out


def low_rank(x, draw, rank):
    X = x.reshape(SHAPE)
    omega = torch.randn((SHAPE[1], rank), generator=torch.Generator().manual_seed(draw), dtype=torch.float64).numpy()
    u, s, _ = np.linalg.svd(X @ omega, full_matrices=False)
    basis = u[:, s > 1e-9 * s[0]]
    return (basis @ (basis.T @ X)).ravel()


def stable(x, k):
    """Places of the k largest; of equal ones, the first."""
    return np.sort(np.argsort(-np.abs(x), kind="stable")[:k])


def by_hand(text, x, draw):
    """C(x) of one row in float64."""
    first, _, rest = text.partition("+")
    name, _, numbers = first.partition(":")
    if name == "identity":
        return x
    if name in ("bf16", "fp16"):
        return to_bf16(x) if name == "bf16" else to_fp16(x)
    if name == "sign":
        return np.abs(x).mean() * np.where(x >= 0, 1.0, -1.0)
    if name == "qsgd":
        return qsgd(x, draw, *map(int, numbers.split(",")))
    if name == "low-rank":
        return low_rank(x, draw, int(numbers))
    k = ceil(float(numbers) * x.size - 1e-9)
    places = stable(x, k) if name == "top-k" else drawn_places(draw, k, x.size)
    out = np.zeros_like(x)
    out[places] = by_hand(rest, x[places], draw) if rest else x[places]
    return out


def bytes_by_hand(text, shape, itemsize):
    """Bytes of a packed row, from the numbers of the specification."""
    d, scalar = int(np.prod(shape)), max(itemsize, 4)
    first, _, rest = text.partition("+")
    name, _, numbers = first.partition(":")
    if name == "identity":
        return itemsize * d
    if name in ("bf16", "fp16"):
        return 2 * d + (4 if name == "fp16" else 0)
    if name == "sign":
        return ceil(d / 8) + scalar
    if name == "qsgd":
        levels, bucket = [*map(int, numbers.split(",")), 1024][:2]
        return (1 + ceil(log2(levels + 1))) * ceil(d / 8) + scalar * ceil(d / min(bucket, d))
    if name == "low-rank":
        whole, r = bytes_by_hand(rest or "identity", (d,), itemsize), int(numbers)
        sides = shape[0], d // shape[0]
        if len(shape) < 2 or min(sides) <= r:
            return whole
        return min(whole, sum(bytes_by_hand(rest or "identity", (r * side,), itemsize) for side in sides))
    k = max(1, ceil(float(numbers) * d - 1e-9))
    values = bytes_by_hand(rest or "identity", (k,), itemsize)
    if name == "rand-k":
        return values
    few = [
        min(count * low + count + ((d - 1) >> low) for low in range(40)) if count else 0 for count in (k, d - k)
    ]  # Elias-Fano coding of the places, or of those left out
    return ceil(min(d, *few) / 8) + values


def round_trip(compressor, x, draws):
    return compressor.decode(compressor.encode(x, draws), draws)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


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


# Contraction.

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


# Randomness.


@pytest.mark.parametrize("text", ["qsgd:1,16", "qsgd:4,32", "qsgd:15"])
def test_quantisation_without_its_factor_is_unbiased(text):
    compressor, draws = make_compressor(text)((50,), torch.float64), 4000
    x = normal(50, seed=5).expand(draws, -1)
    found = round_trip(compressor, x, range(draws)) * compressor.tau
    for bucket in range(0, 50, compressor.bucket):
        part, mean = (y[..., bucket : bucket + compressor.bucket] for y in (x[0], found.mean(dim=0)))
        unit = part.norm() / compressor.levels
        above = (part.abs() / unit).frac()  # the probability to be rounded up
        assert ((mean - part).abs() <= unit * (5 * (above * (1 - above) / draws).sqrt() + 5 / draws)).all()
    assert found.std(dim=0).max() > 0
    # Its second moment is the one that tau stands for.
    assert found.square().sum(dim=1).mean() <= compressor.tau * x[0].square().sum()


def test_levels_are_whole_and_at_most_as_many_as_asked_for():
    compressor = make_compressor("qsgd:4,32")((100,), torch.float64)
    x = normal(20, 100)
    norms = x[:, :32].norm(dim=1, keepdim=True)
    levels = round_trip(compressor, x, range(20))[:, :32] * compressor.tau * 4 / norms
    assert (levels - levels.round()).abs().max() < 1e-12
    assert levels.abs().max() <= 4
    alone = torch.zeros(1, 100, dtype=torch.float32)
    for value in (3.0, 1e-30, 1e-22, 1e30, 0.1):  # squares of some are no float32
        alone[0, 77] = value
        single = make_compressor("qsgd:4,32")((100,), torch.float32)
        found = round_trip(single, alone, [1]) * single.tau
        assert torch.allclose(found, alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_all_sets_of_places_are_equally_likely(k):
    sets = list(combinations(range(6), k))
    draws = 300 * len(sets)
    counts = dict.fromkeys(sets, 0)
    for draw in range(draws):
        counts[tuple(drawn_places(draw, k, 6).tolist())] += 1
    statistic = sum((count - 300) ** 2 / 300 for count in counts.values())
    freedom = len(sets) - 1
    assert statistic < freedom + 5 * sqrt(2 * freedom)


@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_draws_matter_where_it_says_so(text):
    compressor = make_compressor(text)(SHAPE, torch.float64)
    assert compressor.random == (text in RANDOM)
    x = normal(1, 408)
    one, same, other = (round_trip(compressor, x, [draw]) for draw in (1, 1, 2))
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (not compressor.random)


@pytest.mark.parametrize("text", ["qsgd:4", "rand-k:0.1", "rand-k:0.1+qsgd:4"])
def test_rows_with_different_draws_err_independently(text):
    compressor = make_compressor(text)((400,), torch.float64)
    x = normal(400).expand(200, -1)
    errors = x - round_trip(compressor, x, [keyed_seed(0, "test", row) for row in range(200)])
    errors = errors - errors.mean(dim=0)
    products = (errors[:-1] * errors[1:]).sum(dim=1) / (errors[:-1].norm(dim=1) * errors[1:].norm(dim=1))
    assert products.mean().abs() < 5 / sqrt(200 * 400 * 0.1)


# Bytes and copies.


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_a_row_is_compressed_as_if_it_were_alone(text, dtype):
    dtype, draws = DTYPES[dtype], list(range(7))
    compressor = make_compressor(text)(SHAPE, dtype)
    wide = normal(7, 450, dtype=dtype)
    x = wide[:, 21:429]  # columns of a stack
    packed = compressor.encode(x, draws)
    for row in range(7):
        alone = compressor.encode(x[row].clone().unsqueeze(0), [row])
        assert torch.equal(alone, packed[row : row + 1])


def test_a_long_row_is_added_up_as_if_it_were_alone(threads):
    compressor = make_compressor("sign")((70_001,), torch.float32)
    x = normal(7, 70_001, dtype=torch.float32).exp()
    packed = compressor.encode(x, [0] * 7)
    for count in (1, 2):
        threads(count)
        assert torch.equal(compressor.encode(x, [0] * 7), packed)
        for row in range(7):
            assert torch.equal(compressor.encode(x[row : row + 1], [0]), packed[row : row + 1])


def test_half_precision_reaches_far_below_the_largest():
    x = torch.tensor([[1.99, 1.236328125 * 2.0**-27, 0.0], [-1e-30, 3.3e-38, 1e-32]])
    found = round_trip(make_compressor("fp16")((3,), torch.float32), x, [0, 0])
    assert ((found - x).abs() <= 2.0**-11 * x.abs()).all()
    assert round_trip(make_compressor("fp16")((1,), torch.float32), torch.tensor([[3e38]]), [0]).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_operations_of_other_devices_give_the_same(text, dtype, monkeypatch):
    dtype, draws = DTYPES[dtype], [1, 2, 3]
    compressor = make_compressor(text)(SHAPE, dtype)
    x = normal(3, 408, dtype=dtype)
    packed = compressor.encode(x, draws)
    decoded = compressor.decode(packed, draws)
    for module in (base_module, bits_module, plain_module, quantize_module, sign_module, sparse_module):
        if hasattr(module, "on_cpu"):
            monkeypatch.setattr(module, "on_cpu", lambda x: False)
    assert torch.equal(compressor.decode(packed, draws), decoded)
    there = compressor.encode(x, draws)
    assert there.shape == packed.shape
    if "qsgd" not in text:  # whose random numbers are others
        found = compressor.decode(there, draws)
        assert torch.allclose(found.double(), decoded.double(), rtol=4 * UNIT[dtype], atol=0)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_all_holders_get_the_same_bits(text, dtype, threads):
    dtype, draws = DTYPES[dtype], list(range(7))
    # Some are long enough for PyTorch to use several threads, and for blocks.
    shape = {"sign": (260, 257)}.get(text, (96, 57)) if dtype == torch.float32 and text in LONG else (30, 35)
    compressor = make_compressor(text)(shape, dtype)
    if isinstance(compressor, base_module.Dense) and text != "sign":
        compressor.block = 1 << 12
    d, size = compressor.columns, compressor.size
    packed = compressor.encode(normal(7, d, dtype=dtype), draws)
    start = normal(7, d, seed=1, dtype=dtype)
    decoded = compressor.decode(packed, draws)
    added = start + decoded
    if "top-k" in text or "rand-k" in text:
        added = torch.where(decoded == 0, start, added)  # which keeps -0
    message = torch.zeros(7, size + 11, dtype=torch.uint8)
    message[:, 3 : 3 + size] = packed  # no number starts where numbers do
    for count in (1, 2):
        threads(count)
        for row in (0, 6):
            for bytes_there in (packed[row : row + 1], message[row : row + 1, 3 : 3 + size]):
                assert torch.equal(compressor.decode(bytes_there, [row])[0], decoded[row])
                narrow = torch.zeros(1, d + 5, dtype=dtype)
                narrow[:, 2 : 2 + d] = start[row]
                compressor.add_(narrow[:, 2 : 2 + d], None, bytes_there, [row])
                assert torch.equal(narrow[0, 2 : 2 + d], added[row])
                assert (narrow[0, :2] == 0).all()
                assert (narrow[0, 2 + d :] == 0).all()
        together = start.clone()
        compressor.add_(together, None, message[:, 3 : 3 + size], draws)
        assert torch.equal(together, added)
        order = [5, 0, 3]
        spread = torch.zeros(9, d + 5, dtype=dtype)
        spread[[8, 1, 4], 2 : 2 + d] = start[order]
        compressor.add_(spread[:, 2 : 2 + d], torch.tensor([8, 1, 4]), message[order, 3 : 3 + size], order)
        assert torch.equal(spread[[8, 1, 4], 2 : 2 + d], added[order])
        assert (spread[[0, 2, 3, 5, 6, 7]] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_what_is_no_number_neither_stops_nor_spreads(text, dtype):
    dtype = DTYPES[dtype]
    compressor = make_compressor(text)(SHAPE, dtype)
    x = normal(5, 408, dtype=dtype)
    alone = round_trip(compressor, x[:1], [0])
    x[1, 3], x[2, 5], x[3], x[4, ::2] = float("nan"), float("inf"), float("nan"), -float("inf")
    found = round_trip(compressor, x, range(5))
    assert torch.equal(found[:1], alone)
    if "rand" not in text:
        assert not found[3].isfinite().all(), "the run has to see that it has diverged"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_the_rows_are_left_as_they_are(text, dtype):
    compressor = make_compressor(text)(SHAPE, DTYPES[dtype])
    x = normal(2, 408, dtype=DTYPES[dtype])
    before = x.clone()
    packed = compressor.encode(x, [0, 1])
    sent = packed.clone()
    y = compressor.decode(packed, [0, 1])
    y.add_(1)
    assert torch.equal(packed, sent)
    packed.zero_()
    assert torch.equal(x, before)


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


# The largest.


@pytest.mark.parametrize(
    "kind", ["normal", "periodic", "few values", "nearly zeros", "sorted", "zeros", "heavy", "misleading"]
)
@pytest.mark.parametrize("k", [1, 40, 3000, 30_000, 200_000])
def test_the_largest_of_many_are_exact(kind, k):
    rng, d = np.random.default_rng(k), 300_001
    x = {
        "normal": lambda: rng.standard_normal(d),
        "periodic": lambda: np.sin(np.arange(d) * 2 * np.pi / 512),
        "few values": lambda: rng.integers(-3, 4, d).astype(float),
        "nearly zeros": lambda: np.where(rng.random(d) < 1e-4, rng.standard_normal(d), 0),
        "sorted": lambda: np.arange(d) / d,
        "zeros": lambda: np.zeros(d),
        # What the sample consists of is larger than all else.
        "misleading": lambda: rng.random(d) + np.isin(np.arange(d), sparse_module._sample(d)),
        "heavy": lambda: rng.standard_cauchy(d) ** 3,
    }[kind]()
    x32 = x.astype(np.float32)
    assert (largest_places(torch.from_numpy(x32).unsqueeze(0), k).numpy() == stable(x32, k)).all()


def test_both_ways_to_find_the_largest_agree():
    x = normal(6, 500).float()
    x[0], x[1], x[2] = 0, x[1].round(), -1
    x[3, 5], x[3, 9], x[4, 7] = float("nan"), float("inf"), -float("inf")
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        rows = x.to(dtype)
        bits = rows.view(sparse_module.INTEGERS[dtype.itemsize])
        for k in (1, 3, 250, 499, 500):
            assert torch.equal(sparse_module._largest_anywhere(bits, k), largest_places(rows, k))
            assert torch.equal(
                largest_places(rows[:, 10:490], min(k, 480)), largest_places(rows[:, 10:490].clone(), min(k, 480))
            )


@pytest.mark.parametrize(
    ("fraction", "d", "k"),
    [(0.1, 1000, 100), (0.07, 100, 7), (0.3, 10, 3), (0.001, 10, 1), (1, 5, 5), (1e-05, 200_001, 3)],
)
def test_the_fraction_is_meant_as_it_is_written(fraction, d, k):
    assert make_compressor(f"top-k:{fraction}")((d,), torch.float32).kept == k


# Whole models.


def stacks():
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 10))
    model[1].double()
    names = [["0.weight", "0.bias", "1.weight"], ["1.bias"]]
    return NodeStacks(model, 3, names)


@pytest.mark.parametrize("text", ["identity", "sign", "qsgd:4", "top-k:0.1+sign", "rand-k:0.2", "low-rank:2"])
@pytest.mark.parametrize("by", ["tensor", "model"])
def test_models_are_packed_tensor_by_tensor_or_whole(text, by):
    nodes, make = stacks(), make_compressor(text)
    codec = Codec.of(nodes, make, by, seed=5)
    kinds = [stack.dtype for stack in nodes.stacks]
    assert kinds == [torch.float32, torch.float64, torch.float64]
    columns = {  # what is compressed together: stack, columns, shape
        "tensor": [(0, slice(0, 1200), (30, 40)), (0, slice(1200, 1230), (30,)), (1, slice(0, 300), (10, 30))],
        "model": [(0, slice(0, 1230), (1230,)), (1, slice(0, 300), (300,))],
    }[by] + [(2, slice(0, 10), (10,))]
    parts = [make(shape, kinds[stack]) for stack, _, shape in columns]
    assert codec.size == sum(part.size for part in parts)
    assert codec.contraction == min(part.contraction for part in parts)
    values = [normal(4, stack.shape[1], seed=k, dtype=stack.dtype) for k, stack in enumerate(nodes.stacks)]
    keys = [(0, 0, 3), (1, 0, 3), (2, 0, 3), (0, 1, 3)]
    packed = codec.encode(values, keys)
    assert packed.shape == (4, codec.size)
    targets = [torch.zeros(6, value.shape[1], dtype=value.dtype) for value in values]
    codec.add_(targets, torch.tensor([5, 0, 2, 3]), packed, keys)
    for number, ((stack, where, _), part) in enumerate(zip(columns, parts, strict=True)):
        for row, key in enumerate(keys):
            draw = drawn_seeds(5, len(parts), *key)[number]
            expected = round_trip(part, values[stack][row : row + 1, where], [draw])[0]
            assert torch.equal(targets[stack][(5, 0, 2, 3)[row], where], expected)
    assert all((target[[1, 4]] == 0).all() for target in targets)


def test_matrices_keep_their_shape_tensor_by_tensor():
    by_tensor, whole = (Codec.of(stacks(), make_compressor("low-rank:2"), by, 0) for by in ("tensor", "model"))
    assert by_tensor.size == 4 * 2 * (30 + 40) + 4 * 30 + 8 * 2 * (10 + 30) + 8 * 10
    assert whole.size == 4 * 1230 + 8 * 300 + 8 * 10, "a vector has no rank"
