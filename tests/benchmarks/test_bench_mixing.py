"""Mixing takes at most 1.5 times as long as copying the rows, and PyTorch's products take longer than mixing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def _bench_mixing():
    path = Path(__file__).with_name("bench_mixing.py")
    spec = importlib.util.spec_from_file_location("bench_mixing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_mixing_is_nearly_as_fast_as_a_copy():
    bench = _bench_mixing()
    for _ in range(3):  # other programs may get in the way
        results = bench.measure(["one-peer", "ring"], columns=500_000, repetitions=7)
        print(results)
        good = all(
            row["topokit"] <= 1.5 and min(row["torch CSR"], row["torch dense"]) > row["topokit"]
            for row in results.values()
        )
        if good:
            return
    pytest.fail(f"three times too slow; times over that of a copy: {results}")
