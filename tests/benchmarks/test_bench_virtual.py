"""Virtual nodes keep what docs/benchmarks.md says of them."""

import pytest
from bench_virtual import LIMITS, MODELS, measure


@pytest.mark.slow
@pytest.mark.parametrize("batch", [8, 32, 128])
@pytest.mark.parametrize("model", list(MODELS))
def test_virtual_nodes_are_cheap(model, batch):
    rows = []
    for _ in range(4):  # a machine that is busy at the moment may be quiet at the next; both limits hold in one attempt
        row = measure(model, batch, nodes=64, device="cpu", repetitions=9)
        if row["nodes_over_one"] <= LIMITS.get((model, batch), float("inf")) and row["nodes_over_loop"] <= 1:
            return
        rows.append(row)
    raise AssertionError(rows)
