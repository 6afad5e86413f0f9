"""The places of the largest numbers: exact, and of equal ones the first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressors import normal, stable

from topokit_trainer.compression import make_compressor
from topokit_trainer.compression import sparse as sparse_module
from topokit_trainer.compression.sparse import largest_places


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
